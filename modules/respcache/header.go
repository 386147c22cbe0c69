// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"encoding/binary"
	"net/http"
	"slices"
	"strings"
)

// headerField is one line of a header, its name in canonical form.
type headerField struct{ name, value string }

// storedHeader is a header as it is kept: the lengths of name and value of each line as varints, then the line. It is one string,
// without pointers in it: the garbage collector looks at every pointer of every stored answer each time it runs.
type storedHeader string

// next takes the first line off. ok is false at the end.
func (s storedHeader) next() (f headerField, rest storedHeader, ok bool) {
	if s == "" {
		return f, "", false
	}
	name, s := s.length()
	value, s := s.length()
	return headerField{string(s[:name]), string(s[name : name+value])}, s[name+value:], true
}

// length takes a varint off.
func (s storedHeader) length() (n int, rest storedHeader) {
	if s[0] < 0x80 {
		return int(s[0]), s[1:]
	}
	for shift, i := 0, 0; ; shift, i = shift+7, i+1 {
		n |= int(s[i]&0x7f) << shift
		if s[i] < 0x80 {
			return n, s[i+1:]
		}
	}
}

// get returns the first line of a field, or nothing.
func (s storedHeader) get(name string) string {
	for f, rest, ok := s.next(); ok; f, rest, ok = rest.next() {
		if f.name == name {
			return f.value
		}
	}
	return ""
}

// count is how many lines there are.
func (s storedHeader) count() (n int) {
	for _, rest, ok := s.next(); ok; _, rest, ok = rest.next() {
		n++
	}
	return n
}

// fields are the lines, for those who change them.
func (s storedHeader) fields() []headerField {
	fields := make([]headerField, 0, s.count()+1)
	for f, rest, ok := s.next(); ok; f, rest, ok = rest.next() {
		fields = append(fields, f)
	}
	return fields
}

// header is a copy for those who change it.
func (s storedHeader) header() http.Header {
	h := make(http.Header, s.count()+4)
	for f, rest, ok := s.next(); ok; f, rest, ok = rest.next() {
		h[f.name] = append(h[f.name], f.value)
	}
	return h
}

// pack makes one string of a key and a header, so that a stored answer keeps one piece of memory for both.
func pack(key string, fields []headerField) (string, storedHeader) {
	size := len(key)
	for _, f := range fields {
		size += 2*binary.MaxVarintLen32 + len(f.name) + len(f.value)
	}
	b := make([]byte, 0, size)
	b = append(b, key...)
	for _, f := range fields {
		b = binary.AppendUvarint(b, uint64(len(f.name)))
		b = binary.AppendUvarint(b, uint64(len(f.value)))
		b = append(append(b, f.name...), f.value...)
	}
	packed := string(b)
	return packed[:len(key)], storedHeader(packed[len(key):])
}

// notStored reports whether a field is made anew for each answer, or concerns one client or one connection alone. All others are
// stored: RFC 9111 section 3.1.
func notStored(name string) bool {
	switch name {
	case "Age", "Cache-Status", "Set-Cookie", "Content-Length":
		return true
	}
	return hopByHop(name) || strings.HasPrefix(name, http.TrailerPrefix)
}

// keepHeader lists what is stored of a header: without the withheld fields, and without what outer handlers had set, so that a hit
// does not have that twice.
func keepHeader(h, outer http.Header, withheld []string) []headerField {
	kept := make([]headerField, 0, len(h)+1)
	for name, values := range h {
		if notStored(name) || slices.Contains(withheld, name) {
			continue
		}
		if set := outer[name]; len(set) > 0 && len(values) >= len(set) && slices.Equal(values[:len(set)], set) {
			values = values[len(set):]
		}
		for _, value := range values {
			kept = append(kept, headerField{name, value})
		}
	}
	sortFields(kept)
	return kept
}

func sortFields(fields []headerField) {
	slices.SortStableFunc(fields, func(a, b headerField) int { return strings.Compare(a.name, b.name) })
}

// fieldOf returns the first line of a field, or nothing.
func fieldOf(fields []headerField, name string) string {
	if i := slices.IndexFunc(fields, func(f headerField) bool { return f.name == name }); i >= 0 {
		return fields[i].value
	}
	return ""
}
