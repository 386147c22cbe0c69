// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/dunglas/httpsfv"
)

// searchRule is what a No-Vary-Search field says: which parameters of a query do not matter for an answer.
type searchRule struct {
	anyOrder  bool
	ignoreAll bool     // all parameters, save those in names
	names     []string // decoded, sorted: ignored, or with ignoreAll the ones that matter
}

// parseNoVarySearch reads a No-Vary-Search field. nil means that every part of the query matters, as it does without the
// field, and if any of it is malformed.
func parseNoVarySearch(lines []string) *searchRule {
	if len(lines) == 0 {
		return nil
	}
	dictionary, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil {
		return nil
	}
	rule := new(searchRule)
	if member, ok := dictionary.Get("key-order"); ok {
		if rule.anyOrder, ok = itemBool(member); !ok {
			return nil
		}
	}
	if !rule.readParams(dictionary) {
		return nil
	}
	if !rule.anyOrder && !rule.ignoreAll && len(rule.names) == 0 {
		return nil
	}
	slices.Sort(rule.names)
	return rule
}

// readParams reads the members params and except; except is valid only beside params without a list.
func (r *searchRule) readParams(dictionary *httpsfv.Dictionary) bool {
	params, hasParams := dictionary.Get("params")
	except, hasExcept := dictionary.Get("except")
	if hasParams {
		if all, ok := itemBool(params); ok {
			r.ignoreAll = all
		} else if r.names, ok = innerStrings(params); !ok {
			return false
		}
	}
	if !hasExcept {
		return true
	}
	if !r.ignoreAll {
		return false
	}
	var ok bool
	r.names, ok = innerStrings(except)
	return ok
}

func itemBool(member httpsfv.Member) (value, ok bool) {
	item, ok := member.(httpsfv.Item)
	if !ok {
		return false, false
	}
	value, ok = item.Value.(bool)
	return value, ok
}

func innerStrings(member httpsfv.Member) (names []string, ok bool) {
	list, ok := member.(httpsfv.InnerList)
	if !ok {
		return nil, false
	}
	for _, item := range list.Items {
		s, ok := item.Value.(string)
		if !ok {
			return nil, false
		}
		names = append(names, decodeParameter(s))
	}
	return names, true
}

// decodeParameter decodes as a form does; what cannot be decoded stands for itself.
func decodeParameter(s string) string {
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}

func (r *searchRule) matters(name string) bool {
	_, listed := slices.BinarySearch(r.names, name)
	return listed == r.ignoreAll
}

// normalize is the form that all queries share which the rule takes for equal.
func (r *searchRule) normalize(query string) string {
	type pair struct{ name, value string }
	var pairs []pair
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		if name = decodeParameter(name); r.matters(name) {
			pairs = append(pairs, pair{name, decodeParameter(value)})
		}
	}
	if r.anyOrder {
		slices.SortStableFunc(pairs, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	}
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(p.name) + "=" + url.QueryEscape(p.value))
	}
	return b.String()
}

// id tells rules apart within keys.
func (r *searchRule) id() string {
	var b strings.Builder
	if r.anyOrder {
		b.WriteByte('o')
	}
	if r.ignoreAll {
		b.WriteByte('*')
	}
	for _, name := range r.names {
		b.WriteString("&" + url.QueryEscape(name))
	}
	return b.String()
}

// maxSearchRules bounds the paths whose rule is remembered, and maxSearchBase their length. A forgotten one costs a miss.
const (
	maxSearchRules = 10_000
	maxSearchBase  = 4 << 10
)

// searchRules remembers the latest rule of each path: a request must know it before it can look for an answer.
type searchRules struct {
	mu    sync.RWMutex
	rules map[string]*searchRule
}

// of returns the rule of a path, or nil.
func (s *searchRules) of(base string) *searchRule {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.rules) == 0 {
		return nil
	}
	return s.rules[base]
}

// learn remembers the rule that an answer gave for its path; nil forgets it.
func (s *searchRules) learn(base string, rule *searchRule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rule == nil {
		delete(s.rules, base)
		return
	}
	if s.rules == nil {
		s.rules = map[string]*searchRule{}
	}
	if _, known := s.rules[base]; !known && len(s.rules) >= maxSearchRules {
		for other := range s.rules { // any one
			delete(s.rules, other)
			break
		}
	}
	s.rules[strings.Clone(base)] = rule
}
