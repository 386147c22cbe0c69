// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// maxRanges bounds the parts of one answer: many small or overlapping ranges cost the server more than the client, RFC 9110
// section 17.15. A request with more gets the whole answer.
const maxRanges = 8

// outside is a position behind every body.
const outside = 1<<62 - 1

// byteRange is a part of a body.
type byteRange struct{ start, length int64 }

// ranges is what a Range field asks of a body.
type ranges struct {
	parts []byteRange
	// unsatisfiable is a valid field none of whose ranges lies within the body: RFC 9110 section 15.5.17.
	unsatisfiable bool
}

// parseRanges reads a Range field for a body of the given size, RFC 9110 section 14.1.2. A field that is malformed, of
// another unit, or that asks for too much is as good as absent: section 14.2.
func parseRanges(lines []string, size int64) (r ranges) {
	if len(lines) != 1 {
		return r
	}
	unit, set, ok := strings.Cut(lines[0], "=")
	if !ok || !strings.EqualFold(trimOWS(unit), "bytes") {
		return r
	}
	var parts []byteRange
	total := int64(0)
	given := 0
	for spec := range strings.SplitSeq(set, ",") {
		if spec = trimOWS(spec); spec == "" {
			continue
		}
		part, valid := parseRange(spec, size)
		if given++; !valid || given > maxRanges {
			return ranges{}
		}
		if part.length > 0 {
			parts = append(parts, part)
			total += part.length
		}
	}
	switch {
	case given == 0:
		return r
	case len(parts) == 0:
		return ranges{unsatisfiable: true}
	case len(parts) > 1 && (total > size || overlap(parts)): // more than the whole, or the same twice
		return r
	}
	return ranges{parts: parts}
}

// parseRange reads one range. Its length is zero if it lies outside of the body.
func parseRange(spec string, size int64) (byteRange, bool) {
	from, to, ok := strings.Cut(spec, "-")
	if !ok {
		return byteRange{}, false
	}
	if from == "" { // the last bytes
		n, ok := parsePosition(to)
		n = min(n, size)
		return byteRange{size - n, n}, ok
	}
	start, ok := parsePosition(from)
	if !ok {
		return byteRange{}, false
	}
	end := size - 1
	if to != "" {
		last, ok := parsePosition(to)
		if !ok || last < start {
			return byteRange{}, false
		}
		end = min(end, last)
	}
	if start > end {
		return byteRange{}, true
	}
	return byteRange{start, end - start + 1}, true
}

// parsePosition reads a position of digits alone: strconv would take a sign too. One that is too large for a number lies
// behind every body.
func parsePosition(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > outside {
		return outside, true
	}
	return n, true
}

func overlap(parts []byteRange) bool {
	for i, a := range parts {
		for _, b := range parts[:i] {
			if a.start < b.start+b.length && b.start < a.start+a.length {
				return true
			}
		}
	}
	return false
}

// rangeApplies evaluates If-Range, RFC 9110 section 13.1.5: the ranges count only if its validator is the stored one, by
// strong comparison.
func rangeApplies(req http.Header, stored storedHeader) bool {
	condition := first1(req["If-Range"])
	if condition == "" {
		return true
	}
	if strings.HasPrefix(condition, `"`) || strings.HasPrefix(condition, "W/") {
		return isStrong(condition) && condition == stored.get("Etag")
	}
	if _, ok := parseDate(condition); !ok {
		return false
	}
	modified, ok := parseDate(stored.get("Last-Modified"))
	date, dated := parseDate(stored.get("Date"))
	// A date is a strong validator only if the answer was made at least a second after it: RFC 9110 section 8.8.2.2.
	return ok && dated && condition == stored.get("Last-Modified") && date.Unix() > modified.Unix()
}

func (b byteRange) contentRange(size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", b.start, b.start+b.length-1, size)
}

// multipart is the frame of an answer of several ranges, RFC 9110 section 14.6.
type multipart struct {
	boundary string
	heads    []string // before each part
	tail     string
	length   int64
}

func newMultipart(parts []byteRange, contentType string, size int64) multipart {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	m := multipart{boundary: hex.EncodeToString(random[:])}
	for i, part := range parts {
		head := "--" + m.boundary + "\r\n"
		if i > 0 {
			head = "\r\n" + head
		}
		if contentType != "" {
			head += "Content-Type: " + contentType + "\r\n"
		}
		head += "Content-Range: " + part.contentRange(size) + "\r\n\r\n"
		m.heads = append(m.heads, head)
		m.length += int64(len(head)) + part.length
	}
	m.tail = "\r\n--" + m.boundary + "--\r\n"
	m.length += int64(len(m.tail))
	return m
}
