// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// bodyPart is what of a body an answer carries.
type bodyPart uint8

const (
	wholeBody bodyPart = iota
	noBody             // 304, 416, HEAD
	oneRange
	severalRanges
)

// serving is how an object answers one request: what RFC 9110 sections 13 and 14 leave of it.
type serving struct {
	status int
	part   bodyPart
	ranges []byteRange
}

// planServing decides what of an object a request gets. The preconditions come before the ranges: RFC 9110 section 13.2.2.
func planServing(q *query, o *object) serving {
	if o.status != http.StatusOK {
		return serving{status: o.status, part: partFor(q, wholeBody)}
	}
	if len(q.header["If-None-Match"])+len(q.header["If-Modified-Since"]) > 0 &&
		notModified(q.header, o.header, time.Unix(0, o.came)) {
		return serving{status: http.StatusNotModified, part: noBody}
	}
	// RFC 9110 section 14.2: Range is for GET.
	lines := q.header["Range"]
	if !o.holds(q) {
		panic("BUG: a part was to be given for what it is not")
	}
	if len(lines) == 0 || q.method != http.MethodGet || o.size() < 0 || !rangeApplies(q.header, o.header) {
		return serving{status: http.StatusOK, part: partFor(q, wholeBody)}
	}
	switch wanted := parseRanges(lines, o.size()); {
	case wanted.unsatisfiable:
		return serving{status: http.StatusRequestedRangeNotSatisfiable, part: noBody}
	case len(wanted.parts) == 1:
		return serving{http.StatusPartialContent, oneRange, wanted.parts}
	case len(wanted.parts) > 1:
		return serving{http.StatusPartialContent, severalRanges, wanted.parts}
	}
	return serving{status: http.StatusOK, part: wholeBody}
}

func partFor(q *query, part bodyPart) bodyPart {
	if q.method == http.MethodHead {
		return noBody
	}
	return part
}

// leftOut304 are fields about the body, which a 304 does not carry: RFC 9110 section 15.4.5.
func leftOut304(name string) bool {
	switch name {
	case "Content-Type", "Content-Encoding", "Content-Language", "Content-Range":
		return true
	}
	return false
}

// leftOut reports whether a field of the stored answer does not hold for what is sent of it: a digest of the content (RFC 9530
// section 2) is none of a part.
func (s *serving) leftOut(name string) bool {
	switch s.status {
	case http.StatusNotModified:
		return leftOut304(name)
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		return name == "Content-Digest" || name == "Content-Md5"
	}
	return false
}

// writeHead writes the status and header of an answer. age is nil if the answer comes from upstream without one.
func writeHead(w http.ResponseWriter, o *object, s *serving, status *cacheStatus, age time.Duration, aged bool) *multipart {
	h := w.Header()
	if o.removed != "" {
		for name := range strings.SplitSeq(o.removed, keySeparator) {
			delete(h, name)
		}
	}
	// One array for all values. They are copied: handlers outside of this one may change them in place.
	values := make([]string, 0, o.header.count()+4)
	set := func(name, value string) {
		values = append(values, value)
		n := len(values)
		if lines := h[name]; len(lines) > 0 {
			h[name] = append(lines[:len(lines):len(lines)], value)
			return
		}
		h[name] = values[n-1 : n : n]
	}
	for f, rest, ok := o.header.next(); ok; f, rest, ok = rest.next() {
		if !s.leftOut(f.name) {
			set(f.name, f.value)
		}
	}
	if aged {
		set("Age", strconv.FormatInt(int64(age/time.Second), 10))
	}
	set("Cache-Status", status.String())
	parts := writeRangeHead(h, o, s, set)
	w.WriteHeader(s.status)
	return parts
}

// writeRangeHead sets the fields that depend on the part of the body that is sent.
func writeRangeHead(h http.Header, o *object, s *serving, set func(name, value string)) *multipart {
	switch {
	case s.status == http.StatusRequestedRangeNotSatisfiable:
		h["Content-Range"] = []string{"bytes */" + strconv.FormatInt(o.size(), 10)}
		h["Content-Length"] = []string{"0"}
	case s.part == oneRange:
		h["Content-Range"] = []string{s.ranges[0].contentRange(o.size())}
		set("Content-Length", strconv.FormatInt(s.ranges[0].length, 10))
	case s.part == severalRanges:
		m := newMultipart(s.ranges, o.header.get("Content-Type"), o.size())
		h["Content-Type"] = []string{"multipart/byteranges; boundary=" + m.boundary}
		set("Content-Length", strconv.FormatInt(m.length, 10))
		return &m
	case s.status != http.StatusNotModified && o.length >= 0 && s.status != http.StatusNoContent:
		set("Content-Length", strconv.FormatInt(o.length, 10))
	}
	return nil
}

// writeBody writes what a stored object has to be sent of.
func (o *object) writeBody(w http.ResponseWriter, s *serving, m *multipart) error {
	switch s.part {
	case wholeBody:
		return o.body.writeTo(w, 0, o.length)
	case oneRange:
		return o.body.writeTo(w, s.ranges[0].start-o.first, s.ranges[0].length)
	case severalRanges:
		for i, part := range s.ranges {
			if _, err := w.Write([]byte(m.heads[i])); err != nil {
				return err
			}
			if err := o.body.writeTo(w, part.start-o.first, part.length); err != nil {
				return err
			}
		}
		_, err := w.Write([]byte(m.tail))
		return err
	}
	return nil
}

// stretch is the part of a body that is sent from a stream: one range, or all of it, however long that is.
func (s *serving) stretch(o *object) byteRange {
	if s.part == oneRange {
		return byteRange{s.ranges[0].start - o.first, s.ranges[0].length}
	}
	return byteRange{0, math.MaxInt64}
}

// copyTo writes a part of a body while it comes in. What has come is flushed before it waits for more.
func (r *reader) copyTo(ctx context.Context, w http.ResponseWriter, part byteRange) error {
	controller := http.NewResponseController(w)
	r.advance(int(part.start))
	for part.length > 0 {
		p, more, err := r.next(ctx)
		if err != nil || p == nil {
			return err
		}
		p = p[:min(int64(len(p)), part.length)]
		n, err := w.Write(p)
		r.advance(n)
		part.length -= int64(n)
		if err != nil {
			r.failed = err
			return err
		}
		if more {
			if err := controller.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return err
			}
		}
	}
	return nil
}
