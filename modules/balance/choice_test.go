// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// newPool returns n upstreams as Caddy passes them, and their states from a registry of its own.
func newPool(n int) (reverseproxy.UpstreamPool, []*upstream) {
	r := newRegistry()
	pool, states := make(reverseproxy.UpstreamPool, n), make([]*upstream, n)
	for i, name := range names(n) {
		pool[i] = &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: name}
		states[i] = r.get(name)
	}
	return pool, states
}

// ranked returns the pool's indexes in the order of the key's choices.
func ranked(k *ranking, key uint64) []int {
	ranks := make([]uint64, len(k.members))
	for position := range ranks {
		ranks[position] = k.table.rank(key, position)
	}
	slices.Sort(ranks)
	order := make([]int, len(ranks))
	for i, rank := range ranks {
		order[i] = k.members[rank&k.table.position].index
	}
	return order
}

// hotRule returns a rule for which the key is hot enough for replicas of n upstreams.
func hotRule(t *testing.T, key uint64, replicas, n int) rule {
	t.Helper()
	h := newHotKeys(0.3, time.Hour)
	share := 0.3 * (float64(replicas) - 0.5) / float64(n)
	for i := range 10_000 {
		if float64(i) < share*10_000 {
			h.sample(key, n, 0, time.Now())
		} else {
			h.total.Add(1)
		}
	}
	if got := h.replicasFor(h.sets[key%hotSets].counts[0].Load(), n); got != replicas {
		t.Fatalf("the key gets %d replicas, want %d", got, replicas)
	}
	return rule{hot: h, above: defaultAbove}
}

func TestChoice(t *testing.T) {
	const key = 0x1234567890abcdef
	safe := rule{factor: defaultFactor, least: safeLoad}
	strict := rule{factor: 1.25}
	tests := map[string]struct {
		rule    rule
		loads   []int64 // in the order of the key's choices
		drained []int   // choices
		failed  []int
		want    int // a choice, -1 for none
	}{
		"idle":                                  {rule: safe, want: 0},
		"few in flight stay together":           {rule: safe, loads: []int64{15}, want: 0},
		"far above the mean":                    {rule: safe, loads: []int64{16, 0, 0, 0, 0}, want: 1},
		"high but even load":                    {rule: safe, loads: []int64{90, 70, 70, 70, 70}, want: 0},
		"below the bound by one":                {rule: safe, loads: []int64{40, 15, 15, 15, 15}, want: 0}, // of 2*101/5
		"at the bound":                          {rule: safe, loads: []int64{41, 15, 15, 15, 15}, want: 1}, // of 2*102/5
		"two above the bound":                   {rule: strict, loads: []int64{9, 9, 1, 1, 1}, want: 2},
		"strict: one in flight, nothing else":   {rule: strict, loads: []int64{1}, want: 1},
		"strict: even":                          {rule: strict, loads: []int64{4, 4, 4, 4, 4}, want: 0},
		"unbounded":                             {rule: rule{}, loads: []int64{1000}, want: 0},
		"drained":                               {rule: safe, drained: []int{0, 1}, want: 2},
		"drained ones carry no share":           {rule: strict, loads: []int64{3, 3, 1}, drained: []int{3, 4}, want: 0},
		"failed":                                {rule: safe, failed: []int{0}, want: 1},
		"failed twice":                          {rule: safe, failed: []int{1, 0}, want: 2},
		"failed, the next one overloaded":       {rule: safe, loads: []int64{0, 50}, failed: []int{0}, want: 2},
		"overloaded before failed":              {rule: safe, loads: []int64{0, 50}, failed: []int{0, 2, 3, 4}, want: 1},
		"failed everywhere":                     {rule: safe, failed: []int{0, 1, 2, 3, 4}, want: 0},
		"failed everywhere that is not drained": {rule: safe, failed: []int{1, 2}, drained: []int{0, 3, 4}, want: 1},
		"all drained":                           {rule: safe, drained: []int{0, 1, 2, 3, 4}, want: -1},
		"hot, first choice hardly loaded":       {rule: hotRule(t, key, 3, 5), loads: []int64{3}, want: 0},
		"hot, first choice loaded":              {rule: hotRule(t, key, 3, 5), loads: []int64{4, 3, 2, 1, 0}, want: 2},
		"hot, even":                             {rule: hotRule(t, key, 3, 5), loads: []int64{4, 4, 4, 4, 4}, want: 0},
		"hot, one drained":                      {rule: hotRule(t, key, 2, 5), loads: []int64{4, 3, 2}, drained: []int{1}, want: 2},
		"hot, retry":                            {rule: hotRule(t, key, 2, 5), loads: []int64{0, 3, 2}, failed: []int{0}, want: 2},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			pool, states := newPool(5)
			k := newRanking(states, nil)
			order := ranked(k, key)
			for choice, load := range c.loads {
				states[order[choice]].inFlight.Store(load)
			}
			for _, choice := range c.drained {
				states[order[choice]].drained.Store(true)
			}
			var failed *failures
			for _, choice := range c.failed {
				if failed == nil {
					failed = new(failures)
				}
				failed.upstreams = append(failed.upstreams, states[order[choice]])
			}
			got := c.rule.choose(k, pool, key, failed)
			choice := -1
			if got != nil {
				choice = slices.Index(order, slices.Index(pool, got))
			}
			if choice != c.want {
				t.Fatalf("got choice %d, want %d", choice, c.want)
			}
		})
	}
}

func TestOrderInTheConfigDoesNotMatter(t *testing.T) {
	pool, states := newPool(7)
	weights := map[string]float64{pool[2].Dial: 3}
	forward := newRanking(states, weights)
	backward := slices.Clone(states)
	slices.Reverse(backward)
	mirrored := newRanking(backward, weights)
	for i := range 10_000 {
		key := scramble(uint64(i))
		a, b := forward.members[forward.table.first(key)], mirrored.members[mirrored.table.first(key)]
		if a.upstream != b.upstream {
			t.Fatalf("key %d goes to %s or %s, depending on the order", i, a.upstream.address, b.upstream.address)
		}
	}
}

func TestOperatorsWeightTakesPrecedence(t *testing.T) {
	pool, states := newPool(3)
	states[1].weight.Store(0x4010000000000000) // 4.0
	k := newRanking(states, map[string]float64{pool[1].Dial: 2, pool[2].Dial: 3})
	if k.weight != 1+4+3 {
		t.Fatalf("the weights add up to %g, want 8", k.weight)
	}
}
