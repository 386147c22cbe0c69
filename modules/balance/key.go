// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"math/bits"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/cespare/xxhash/v2"
)

// The sources of keys, as in configs.
const (
	keyClientIP    = "client_ip"
	keyHeader      = "header"
	keyCookie      = "cookie"
	keyQuery       = "query"
	keyURI         = "uri"
	keyPlaceholder = "placeholder"
)

// keyFunc returns the hash of a request's key, and false if the request has none.
type keyFunc func(*http.Request) (uint64, bool)

// newKeyFunc returns the function for a source. All but placeholders read the request without allocating.
func newKeyFunc(source, name string, placeholders []string) (keyFunc, error) {
	switch source {
	case keyHeader, keyCookie, keyQuery:
		if name == "" {
			return nil, fmt.Errorf("key %s: name is missing", source)
		}
	case keyClientIP, keyURI, keyPlaceholder:
		if name != "" {
			return nil, fmt.Errorf("key %s has no name, found %q", source, name)
		}
	}
	if (source == keyPlaceholder) != (len(placeholders) > 0) {
		return nil, fmt.Errorf("key %s: placeholders belong to key %s, and it needs at least one", source, keyPlaceholder)
	}
	switch source {
	case keyClientIP:
		return func(r *http.Request) (uint64, bool) { return hashString(clientIP(r)) }, nil
	case keyHeader:
		return headerKey(name), nil
	case keyCookie:
		return func(r *http.Request) (uint64, bool) { return hashString(cookieValue(r.Header["Cookie"], name)) }, nil
	case keyQuery:
		return func(r *http.Request) (uint64, bool) { return hashString(queryValue(r.URL.RawQuery, name)) }, nil
	case keyURI:
		return func(r *http.Request) (uint64, bool) { return hashString(r.RequestURI) }, nil
	case keyPlaceholder:
		return placeholderKey(placeholders), nil
	}
	return nil, fmt.Errorf("unknown key %q; expected one of: %s", source,
		strings.Join([]string{keyClientIP, keyCookie, keyHeader, keyPlaceholder, keyQuery, keyURI}, ", "))
}

func hashString(s string) (uint64, bool) {
	if n := len(s); n < 4 || n > 16 {
		return xxhash.Sum64String(s), s != ""
	}
	return hashShort(s), true
}

// hashShort hashes 4 to 16 bytes, such as a client's address, in half of the time that it takes to call and set up a hash for
// texts of any length: two words that overlap cover all bytes, and are multiplied and folded twice (as wyhash does, of Wang
// Yi). It is the same on every proxy, whatever its byte order.
func hashShort(s string) uint64 {
	n := len(s)
	middle := n >> 3 << 2
	first := uint64(word(s, 0))<<32 | uint64(word(s, middle))
	last := uint64(word(s, n-4))<<32 | uint64(word(s, n-4-middle))
	high, low := bits.Mul64(first^0x9e3779b97f4a7c15, last^0xd6e8feb86659fd93^uint64(n))
	high, low = bits.Mul64(high^0x9e3779b97f4a7c15, low^0xd6e8feb86659fd93)
	return high ^ low
}

// word returns four bytes as a number, the lowest first.
func word(s string, at int) uint32 {
	s = s[at : at+4]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

// clientIP returns the client's address as trusted_proxies has it.
func clientIP(r *http.Request) string {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return ip
}

// headerKey hashes the first value of a header field.
func headerKey(name string) keyFunc {
	name = textproto.CanonicalMIMEHeaderKey(name)
	if name == "Host" { // net/http keeps it apart
		return func(r *http.Request) (uint64, bool) { return hashString(r.Host) }
	}
	return func(r *http.Request) (uint64, bool) {
		values := r.Header[name]
		if len(values) == 0 {
			return 0, false
		}
		return hashString(values[0])
	}
}

// cookieValue returns the value of the first cookie of that name, RFC 6265 section 4.2.1, without double quotes around
// it. It stands in for http.Request.Cookie, which allocates every cookie of the request.
func cookieValue(fields []string, name string) string {
	for _, field := range fields {
		for field != "" {
			var pair string
			pair, field, _ = strings.Cut(field, ";")
			key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if !ok || key != name {
				continue
			}
			if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
				value = value[1 : len(value)-1]
			}
			return value
		}
	}
	return ""
}

// queryValue returns the first value of a query parameter, decoded, so that two spellings of a value are one key. It
// stands in for url.URL.Query, which allocates every parameter; it allocates only for values that are encoded.
func queryValue(query, name string) string {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		if unescape(key) == name {
			return unescape(value)
		}
	}
	return ""
}

// unescape decodes a part of a query. What is malformed stays as it is: it is a key all the same.
func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	decoded, err := url.QueryUnescape(s)
	if err != nil {
		return s
	}
	return decoded
}

// placeholderKey hashes several texts with placeholders, set apart, so that "a","bc" and "ab","c" differ. The key is
// empty if all of them are.
func placeholderKey(texts []string) keyFunc {
	return func(r *http.Request) (uint64, bool) {
		replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if !ok {
			return 0, false
		}
		if len(texts) == 1 {
			return hashString(replacer.ReplaceAll(texts[0], ""))
		}
		var digest xxhash.Digest
		digest.Reset()
		found := false
		for _, text := range texts {
			value := replacer.ReplaceAll(text, "")
			found = found || value != ""
			_, _ = digest.WriteString(value) // never fails
			_, _ = digest.WriteString("\x00")
		}
		return digest.Sum64(), found
	}
}
