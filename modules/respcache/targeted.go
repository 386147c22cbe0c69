// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// parseTargeted reads a targeted cache control field such as CDN-Cache-Control: a structured dictionary, RFC 9213 section
// 2.1. ok is false if the field is absent, empty or malformed as a whole, and is then to be ignored as a whole; a directive
// whose value has the wrong type is ignored alone, and parameters always are.
func parseTargeted(lines []string) (d directives, ok bool) {
	d = noDirectives()
	if len(lines) == 0 {
		return d, false
	}
	dictionary, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil || len(dictionary.Names()) == 0 {
		return d, false
	}
	for _, name := range dictionary.Names() {
		member, _ := dictionary.Get(name)
		item, isItem := member.(httpsfv.Item)
		if !isItem {
			continue
		}
		d.setItem(name, item.Value)
	}
	return d, true
}

// setItem takes in one directive with its structured value.
func (d *directives) setItem(name string, value any) {
	switch v := value.(type) {
	case bool:
		if v {
			d.setTargetedFlag(name)
		}
	case int64:
		d.setSeconds(name, v)
	case string: // field names, as in the field without a target
		if name == "private" || name == "no-cache" {
			d.set(name, v, true)
		}
	}
}

func (d *directives) setTargetedFlag(name string) {
	switch name {
	case "private":
		d.private = true
	case "no-cache":
		d.noCache = true
	default:
		d.setFlag(name)
	}
}

func (d *directives) setSeconds(name string, n int64) {
	if n < 0 {
		return
	}
	v := maxDelta
	if n < int64(maxDelta/time.Second) {
		v = time.Duration(n) * time.Second
	}
	switch name {
	case "max-age":
		d.maxAge = v
	case "s-maxage":
		d.sMaxAge = v
	case "stale-while-revalidate":
		d.staleWhileRevalidate = v
	case "stale-if-error":
		d.staleIfError = v
	}
}

// targetedField is the one targeted field that this cache obeys: it stands in front of an application, as a CDN's nodes do.
const targetedField = "Cdn-Cache-Control" // as net/http writes it

// responseDirectives are the directives that hold for a response: those of CDN-Cache-Control if that is valid, which
// replaces Cache-Control and Expires then, RFC 9213 section 2.2; else those of Cache-Control.
func responseDirectives(h map[string][]string) (d directives, targeted bool) {
	if d, ok := parseTargeted(h[targetedField]); ok {
		return d, true
	}
	d = parseCacheControl(h["Cache-Control"])
	// RFC 9111 section 5.4: Pragma says nothing about responses, but those who write it mean it.
	if len(h["Cache-Control"]) == 0 && hasNoCachePragma(h["Pragma"]) {
		d.noCache = true
	}
	return d, false
}

func hasNoCachePragma(lines []string) bool {
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(trimOWS(member), "no-cache") {
				return true
			}
		}
	}
	return false
}
