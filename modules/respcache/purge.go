// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// namesOf are the names under which an answer can be purged together with others.
func namesOf(t *target, tags, groups []string) []string {
	names := []string{"host:" + withoutDefaultPort(t.host)}
	for _, tag := range tags {
		names = append(names, "tag:"+tag)
	}
	for _, group := range groups {
		names = append(names, "group:"+groupName(t, group))
	}
	return names
}

// groupName makes a cache group one of its origin, RFC 9875 section 2.1.
func groupName(t *target, group string) string { return t.scheme + "://" + t.host + " " + group }

// check brings a purge into the form that generations compare, or says what form was expected.
func (p *Purge) check() error {
	switch p.Kind {
	case PurgeAll:
		if p.Value != "" {
			return fmt.Errorf("a purge of everything has no value, found %q", p.Value)
		}
		return nil
	case PurgeTag:
		if p.Value == "" || len(p.Value) > maxTagBytes || strings.ContainsFunc(p.Value, isControl) {
			return fmt.Errorf("expected a tag of 1 to %d bytes, as in Cache-Tag, Surrogate-Key or Cache-Groups, found %q", maxTagBytes, clip(p.Value))
		}
		return nil
	case PurgeGroup:
		origin, group, ok := strings.Cut(p.Value, " ")
		if _, err := parseTarget(origin); err != nil || !ok || group == "" {
			return fmt.Errorf("expected an origin and a cache group such as %q, found %q", "https://example.com news", clip(p.Value))
		}
		return nil
	case PurgeHost:
		return p.checkHost()
	case PurgeURL, PurgePrefix:
		t, err := parseTarget(p.Value)
		if err != nil {
			return err
		}
		p.Value = t.base()
		if t.query != "" {
			p.Value += "?" + t.query
		}
		return nil
	}
	return fmt.Errorf("kind: expected one of url, prefix, host, tag, group, all, found %q", clip(p.Kind))
}

func (p *Purge) checkHost() error {
	u, err := url.Parse("http://" + p.Value)
	if err != nil || p.Value == "" || u.Host != p.Value || u.Hostname() == "" {
		return fmt.Errorf("expected a host such as example.com or example.com:8443, found %q", clip(p.Value))
	}
	p.Value = withoutDefaultPort(strings.ToLower(strings.TrimSuffix(p.Value, ".")))
	return nil
}

// withoutDefaultPort takes both default ports for none: a purge of a host names no scheme.
func withoutDefaultPort(host string) string {
	return strings.TrimSuffix(strings.TrimSuffix(host, ":443"), ":80")
}

// parseTarget reads an absolute URL.
func parseTarget(text string) (target, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Fragment != "" || u.User != nil {
		return target{}, fmt.Errorf("expected a URL such as https://example.com/path?query, found %q", clip(text))
	}
	return targetOfURL(u), nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func clip(s string) string { return s[:min(len(s), 200)] }

// purge carries purges out here.
func (c *cache) purge(purges ...Purge) {
	for _, p := range purges {
		var urls []string
		if p.Kind == PurgeURL {
			urls = c.spellings(p.Value)
		}
		c.generations.purge(p, urls)
		counters().purges.WithLabelValues(p.Kind).Inc()
	}
	c.sweepSoon()
}

// spellings are the URLs under which answers of a URL are stored: as it is, and as the sites' query options and a
// No-Vary-Search make it.
func (c *cache) spellings(text string) []string {
	t, err := parseTarget(text)
	if err != nil {
		return []string{text}
	}
	urls := []string{text}
	for _, policy := range append(c.queryPolicies(), queryPolicy{}) {
		if url := urlOf(t.key(policy, &c.searches, "")); !slices.Contains(urls, url) {
			urls = append(urls, url)
		}
	}
	return urls
}
