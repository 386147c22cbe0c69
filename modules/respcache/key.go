// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// canonicalHost is a host as keys hold it: in lower case, without the scheme's default port and a final dot.
func canonicalHost(host, scheme string) string {
	switch scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// target is what a request asks for: the URI that the client sent, before rewrites.
type target struct {
	scheme, host, path, query string
	// rewritten is the URI that the next handler sees, if it is another one: an answer to it is no answer to another.
	rewritten string
}

func targetOf(r *http.Request) target {
	t := target{scheme: "http"}
	if r.TLS != nil {
		t.scheme = "https"
	}
	t.host = canonicalHost(r.Host, t.scheme)
	u := r.URL
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.URL != nil {
		u = original.URL
		if r.URL.Path != u.Path || r.URL.RawQuery != u.RawQuery || r.URL.RawPath != u.RawPath {
			t.rewritten = r.URL.RequestURI()
		}
	}
	t.path, t.query = u.EscapedPath(), u.RawQuery
	if t.path == "" {
		t.path = "/"
	}
	return t
}

// targetOfURL is the target of a URL that an operator wrote.
func targetOfURL(u *url.URL) target {
	t := target{scheme: strings.ToLower(u.Scheme), path: u.EscapedPath(), query: u.RawQuery}
	t.host = canonicalHost(u.Host, t.scheme)
	if t.path == "" {
		t.path = "/"
	}
	return t
}

// base is the URI without its query.
func (t *target) base() string { return t.scheme + "://" + t.host + t.path }

// keySeparator stands between the URI and further parts of a key; a URI cannot hold it.
const keySeparator = "\n"

// key is what an answer is stored under: the URI, then what else tells answers apart before Vary does.
func (t *target) key(query queryPolicy, rules *searchRules, extra string) string {
	q := query.normalize(t.query)
	ruled := ""
	if q != "" || t.query != "" {
		if rule := rules.of(t.base()); rule != nil {
			q, ruled = rule.normalize(q), rule.id()
		}
	}
	size := len(t.scheme) + 3 + len(t.host) + len(t.path) + 1 + len(q) + 3 + len(ruled) + len(extra) + len(t.rewritten)
	var b strings.Builder
	b.Grow(size)
	b.WriteString(t.scheme)
	b.WriteString("://")
	b.WriteString(t.host)
	b.WriteString(t.path)
	if q != "" {
		b.WriteByte('?')
		b.WriteString(q)
	}
	if ruled+extra+t.rewritten != "" {
		for _, part := range [...]string{ruled, extra, t.rewritten} {
			b.WriteString(keySeparator)
			b.WriteString(part)
		}
	}
	return b.String()
}

// urlOf is the URI of a key.
func urlOf(key string) string {
	url, _, _ := strings.Cut(key, keySeparator)
	return url
}

// queryPolicy is how a site's queries are normalised before they become part of a key. The upstream gets the query as it
// is.
type queryPolicy struct {
	ignore []string // names, or prefixes that end in *
	only   []string
	sort   bool
}

func (p *queryPolicy) isZero() bool { return len(p.ignore)+len(p.only) == 0 && !p.sort }

// normalize drops and sorts parameters. Names are compared as they are written: what is encoded otherwise is another
// parameter, which costs a miss and never a wrong answer.
func (p *queryPolicy) normalize(query string) string {
	if query == "" || p.isZero() {
		return query
	}
	parts := strings.Split(query, "&")
	parts = slices.DeleteFunc(parts, func(part string) bool {
		if strings.Contains(part, ";") { // which separates parameters for some applications: one of them may matter
			return false
		}
		name, _, _ := strings.Cut(part, "=")
		return listed(p.ignore, name) || len(p.only) > 0 && !listed(p.only, name)
	})
	if p.sort {
		slices.SortStableFunc(parts, func(a, b string) int {
			nameA, _, _ := strings.Cut(a, "=")
			nameB, _, _ := strings.Cut(b, "=")
			return strings.Compare(nameA, nameB)
		})
	}
	return strings.Join(parts, "&")
}

func listed(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if prefix, wild := strings.CutSuffix(pattern, "*"); pattern == name || wild && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
