// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxVaryFields bounds the fields that one answer may vary on. More of them make every answer its own.
	maxVaryFields = 16
	// maxVaryBytes bounds the values that are kept with a variant.
	maxVaryBytes = 4 << 10
)

// varyField is a request field that selected an answer, with the normalised value of the request that it answered.
type varyField struct{ name, value string }

// varyOf reads a Vary field, RFC 9110 section 12.5.5. Accept-Encoding is left out: variants tell codings apart themselves.
// all is true for "*", which matches no other request.
func varyOf(lines []string) (names []string, all bool) {
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			name = trimOWS(name)
			switch {
			case name == "*":
				return nil, true
			case name == "" || strings.EqualFold(name, "Accept-Encoding"):
				continue
			}
			name = http.CanonicalHeaderKey(name)
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, false
}

// variesOnCodings reports whether Vary names Accept-Encoding.
func variesOnCodings(lines []string) bool {
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(trimOWS(name), "Accept-Encoding") {
				return true
			}
		}
	}
	return false
}

// selecting takes the fields that Vary names out of a request, normalised as RFC 9111 section 4.1 allows. reason says why
// the answer cannot be stored with them.
func selecting(vary []string, req http.Header) (fields []varyField, reason string) {
	names, all := varyOf(vary)
	if all {
		return nil, reasonVaryAll
	}
	if len(names) > maxVaryFields {
		return nil, reasonVaryTooMany
	}
	size := 0
	for _, name := range names {
		value := normalizeField(name, req[name])
		if size += len(name) + len(value); size > maxVaryBytes {
			return nil, reasonVaryTooLong
		}
		fields = append(fields, varyField{name, strings.Clone(value)})
	}
	return fields, ""
}

// matches reports whether a request has the same selecting fields, RFC 9111 section 4.1.
func matches(fields []varyField, req http.Header) bool {
	for _, f := range fields {
		lines := req[f.name]
		if len(lines) == 1 && lines[0] == f.value { // the common case, which allocates nothing
			continue
		}
		if normalizeField(f.name, lines) != f.value {
			return false
		}
	}
	return true
}

// normalizeField makes one value of a field's lines: joined by commas, without whitespace around members. An absent field is
// an empty value. Languages are put in their order of preference, as equal preferences get equal answers.
func normalizeField(name string, lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	if name == "Accept-Language" {
		return normalizeLanguages(lines)
	}
	if len(lines) == 1 && !strings.Contains(lines[0], ",") {
		return trimOWS(lines[0])
	}
	var members []string
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			if member = trimOWS(member); member != "" {
				members = append(members, member)
			}
		}
	}
	return strings.Join(members, ",")
}

// normalizeLanguages sorts language ranges by weight, RFC 9110 sections 12.4.2 and 12.5.4. Ranges are case-insensitive.
func normalizeLanguages(lines []string) string {
	type language struct {
		tag    string
		weight float64
	}
	var languages []language
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			tag, parameters, _ := strings.Cut(member, ";")
			if tag = strings.ToLower(trimOWS(tag)); tag == "" {
				continue
			}
			weight := 1.0
			if name, value, ok := strings.Cut(trimOWS(parameters), "="); ok && strings.EqualFold(trimOWS(name), "q") {
				if q, err := strconv.ParseFloat(trimOWS(value), 64); err == nil && q >= 0 && q <= 1 {
					weight = q
				}
			}
			languages = append(languages, language{tag, weight})
		}
	}
	slices.SortStableFunc(languages, func(a, b language) int {
		switch {
		case a.weight > b.weight:
			return -1
		case a.weight < b.weight:
			return 1
		}
		return strings.Compare(a.tag, b.tag)
	})
	var b strings.Builder
	for i, l := range languages {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(l.tag)
		if l.weight != 1 {
			b.WriteString(";q=" + strconv.FormatFloat(l.weight, 'f', -1, 64))
		}
	}
	return b.String()
}
