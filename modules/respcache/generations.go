// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// longestFill is how long an answer may take to come in and still be stored. Purges are remembered for longer than that,
	// so that they hold for fills that began before them.
	longestFill = 5 * time.Minute
	// maxRules bounds the purges of URLs and prefixes that are remembered; one more purges everything.
	maxRules = 100_000
)

// mark is the purges of one name, which many objects share: a tag, a host, or everything.
type mark struct {
	hard, soft atomic.Uint64 // numbers of the last purges
	refs       int           // objects that refer to it; guarded by generations.mu
	purged     time.Time     // when it was last; guarded likewise
}

// rule is the purges of a URL or of a prefix of URLs.
type rule struct {
	hard, soft uint64
	at         time.Time
}

// generations make a purge one step that holds at once: each purge has a number, each object the number of the last purge
// before its fill began, and an object whose name was purged later is dead, wherever it is. Memory is reclaimed afterwards.
type generations struct {
	number atomic.Uint64 // of the last purge
	all    mark
	rules  atomic.Int64 // URLs and prefixes that are remembered

	mu       sync.RWMutex
	marks    map[string]*mark // by name: "host:...", "tag:..."
	urls     map[string]rule
	prefixes map[string]rule
	lengths  []int // of the prefixes, each once
}

// state reports whether an object was purged, and whether it was purged softly.
func (g *generations) state(o *object) (dead, stale bool) {
	dead, stale = g.all.after(o.began)
	for _, m := range o.marks {
		d, s := m.after(o.began)
		dead, stale = dead || d, stale || s
	}
	if !dead && g.rules.Load() > 0 {
		d, s := g.ruled(urlOf(o.key), o.began)
		dead, stale = d, stale || s
	}
	return dead, stale
}

func (m *mark) after(began uint64) (dead, stale bool) {
	return m.hard.Load() > began, m.soft.Load() > began
}

// ruled looks for purges of a URL itself and of its prefixes.
func (g *generations) ruled(url string, began uint64) (dead, stale bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	r := g.urls[url]
	dead, stale = r.hard > began, r.soft > began
	for _, n := range g.lengths {
		if n > len(url) {
			break
		}
		r := g.prefixes[url[:n]]
		dead, stale = dead || r.hard > began, stale || r.soft > began
	}
	return dead, stale
}

// of appends the marks of names to marks, which has room for one. The caller's object refers to them from now on.
func (g *generations) of(names []string, marks []*mark) []*mark {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(names) > cap(marks) {
		marks = make([]*mark, 0, len(names))
	}
	for _, name := range names {
		m := g.mark(name)
		m.refs++
		marks = append(marks, m)
	}
	return marks
}

// mark returns a name's mark. The caller holds mu.
func (g *generations) mark(name string) *mark {
	m := g.marks[name]
	if m == nil {
		if g.marks == nil {
			g.marks = map[string]*mark{}
		}
		m = new(mark)
		g.marks[strings.Clone(name)] = m
	}
	return m
}

// retain takes further references to marks, for an object that has the same names.
func (g *generations) retain(marks []*mark) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range marks {
		m.refs++
	}
}

// forget gives references back. Marks without any are removed by tidy.
func (g *generations) forget(marks []*mark) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range marks {
		m.refs--
	}
}

// purge carries one out. When it returns, no object that it names is used any more.
func (g *generations) purge(p Purge, urls []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	number := g.number.Add(1)
	now := time.Now()
	switch p.Kind {
	case PurgeTag:
		g.mark("tag:"+p.Value).set(p.Soft, number, now)
	case PurgeGroup:
		g.mark("group:"+p.Value).set(p.Soft, number, now)
	case PurgeHost:
		g.mark("host:"+p.Value).set(p.Soft, number, now)
	case PurgeURL:
		for _, url := range urls {
			g.remember(&g.urls, url, p.Soft, number, now)
		}
	case PurgePrefix:
		g.remember(&g.prefixes, p.Value, p.Soft, number, now)
		if at, found := slices.BinarySearch(g.lengths, len(p.Value)); !found {
			g.lengths = slices.Insert(g.lengths, at, len(p.Value))
		}
	default:
		g.all.set(p.Soft, number, now)
	}
}

func (m *mark) set(soft bool, number uint64, now time.Time) {
	if soft {
		m.soft.Store(number)
	} else {
		m.hard.Store(number)
	}
	m.purged = now
}

// remember keeps a rule. The caller holds mu.
func (g *generations) remember(rules *map[string]rule, value string, soft bool, number uint64, now time.Time) {
	r, known := (*rules)[value]
	if !known && g.rules.Load() >= maxRules {
		g.all.set(soft, number, now)
		return
	}
	if soft {
		r.soft = number
	} else {
		r.hard = number
	}
	r.at = now
	if *rules == nil {
		*rules = map[string]rule{}
	}
	(*rules)[value] = r
	if !known {
		g.rules.Add(1)
	}
}

// concern adds the soft rules that hold for an object to a set.
func (g *generations) concern(o *object, softly map[string]bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	url := urlOf(o.key)
	if g.urls[url].soft > o.began {
		softly[url] = true
	}
	for _, n := range g.lengths {
		if n <= len(url) && g.prefixes[url[:n]].soft > o.began {
			softly[url[:n]] = true
		}
	}
}

// tidy forgets what no object and no fill can be concerned by any more: rules that were made longer before the last sweep of
// the store than a fill takes, save the soft ones that still hold for an object. swept is when that sweep began.
func (g *generations) tidy(swept time.Time, softly map[string]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := swept.Add(-longestFill)
	for name, m := range g.marks {
		if m.refs <= 0 && m.purged.Before(old) {
			delete(g.marks, name)
		}
	}
	for _, rules := range []map[string]rule{g.urls, g.prefixes} {
		for value, r := range rules {
			if r.at.Before(old) && !softly[value] {
				delete(rules, value)
				g.rules.Add(-1)
			}
		}
	}
	lengths := map[int]bool{}
	for prefix := range g.prefixes {
		lengths[len(prefix)] = true
	}
	g.lengths = g.lengths[:0]
	for n := range lengths {
		g.lengths = append(g.lengths, n)
	}
	slices.SortFunc(g.lengths, cmp.Compare)
}
