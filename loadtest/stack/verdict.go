// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// spread is how far two equal proxies lay apart, at most: what this run cannot tell from nothing. NaN if that was not
// measured.
func spread(blocks []block) float64 {
	var apart []float64
	for _, b := range blocksOf(blocks, again) {
		apart = append(apart, math.Abs(b.ratio(beside)-1))
	}
	return lab.Most(apart)
}

// CPU times are counted in hundredths of a second, and a short run has few of them.
const (
	resolution = 0.01
	shortSlack = 0.15
)

// judge sets what was measured against what is promised. A short run's ratios may miss by its slack, or the spread if that is
// more.
func judge(all []comparison, blocks []block, short bool) []lab.Verdict {
	slack, equal := 0.0, resolution
	if short {
		slack = shortSlack
	}
	if apart := spread(blocks); !math.IsNaN(apart) {
		equal = max(equal, apart)
		if short {
			slack = max(slack, apart)
		}
	}
	var verdicts []lab.Verdict
	for _, c := range all {
		measured := middle(blocksOf(blocks, c.name), func(b block) float64 { return b.ratio(c.method) })
		limit := c.limit
		if c.name == sameOff {
			limit = 1 + equal
		}
		if limit == 0 {
			continue
		}
		v := lab.Verdict{Promise: c.promise(), Measured: measured}
		if c.method == maximum {
			v.Limit, v.Met = fmt.Sprintf(">= %.3f", limit/(1+slack)), measured >= limit/(1+slack)
		} else {
			v.Limit, v.Met = fmt.Sprintf("<= %.3f", limit*(1+slack)), measured <= limit*(1+slack)
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

// promise is what the comparison's ratio is of.
func (c comparison) promise() string {
	what := [...]string{beside: "CPU a request", maximum: "requests/s", loaded: "p99 at 70 % of the maximum"}[c.method]
	return what + ": " + named(c.rival).title + ", to " + named(c.base).title
}
