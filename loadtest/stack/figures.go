// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// figures are what one contender gave in one block.
type figures struct {
	requests       int
	rate           float64 // requests a second
	p50, p99, p999 float64 // milliseconds from the time at which a request should have been sent
	cpu            float64 // microseconds of CPU a request, of the proxy's processes; NaN where that cannot be read
	resident       float64 // MiB; NaN likewise
	late           float64 // share of requests that were sent over lab.LateAfter late
	curve          []point
	wrong          int    // answers of another status than expected, or none
	firstWrong     string // what the first of them was
}

// point of a curve of latencies: a share of the requests was answered within so many milliseconds.
type point struct{ share, ms float64 }

// curveShares are the points of a curve, nearer and nearer to the slowest.
func curveShares() []float64 {
	return []float64{0, .25, .5, .75, .9, .95, .975, .99, .995, .9975, .999, .9995, 1}
}

// timed is a result whose latency counts from the time at which it was due. In an open loop that is what the client's
// queue adds when the generator lacks workers or CPU.
type timed struct {
	result
	lag, whole time.Duration
	lead       bool // sent while the clients still opened connections: it counts, its latency does not
}

// timing compares the results of one attack with the times at which they were due, so many a second. A closed loop (0) is
// never late.
func timing(results []result, rate int) []timed {
	due := func(r result) time.Duration {
		if rate == 0 {
			return 0
		}
		return time.Duration(float64(r.sequence) / float64(rate) * float64(time.Second))
	}
	// The one that was least late was on time: when the attack began is not among the results.
	var begin time.Time
	for i, r := range results {
		if at := r.sent.Add(-due(r)); i == 0 || at.Before(begin) {
			begin = at
		}
	}
	all := make([]timed, 0, len(results))
	for _, r := range results {
		t := timed{result: r, whole: r.latency}
		if rate != 0 {
			t.lag = r.sent.Sub(begin) - due(r)
			t.whole += t.lag
		}
		all = append(all, t)
	}
	return all
}

// seconds is how long an attack took after its lead, to its last answer.
func seconds(results []timed) float64 {
	var first, last time.Time
	for _, r := range results {
		if !r.lead && (first.IsZero() || r.sent.Before(first)) {
			first = r.sent
		}
		if end := r.sent.Add(r.latency); end.After(last) {
			last = end
		}
	}
	return last.Sub(first).Seconds()
}

// leading marks the requests before the one with this number.
func leading(results []timed, sequence int) []timed {
	for i := range results {
		results[i].lead = results[i].sequence < sequence
	}
	return results
}

// sentTo keeps the results of one proxy.
func sentTo(results []timed, url string) []timed {
	return slices.DeleteFunc(slices.Clone(results), func(r timed) bool { return !strings.HasPrefix(r.url, url) })
}

// summarize computes what results alone tell.
func summarize(results []timed, took float64, status int) figures {
	f := figures{requests: len(results), cpu: math.NaN(), resident: math.NaN()}
	if len(results) == 0 {
		return f
	}
	latencies := make([]time.Duration, 0, len(results))
	for _, r := range results {
		if !r.lead {
			latencies = append(latencies, r.whole)
			if r.lag > lab.LateAfter {
				f.late++
			}
		}
		if r.status != status {
			if f.wrong++; f.wrong == 1 {
				f.firstWrong = strings.TrimSpace(fmt.Sprintf("status %d %s", r.status, r.problem))
			}
		}
	}
	slices.Sort(latencies)
	f.late /= float64(len(latencies))
	f.rate = float64(len(latencies)) / took
	at := func(p float64) float64 { return lab.Milliseconds(lab.Percentile(latencies, p)) }
	f.p50, f.p99, f.p999 = at(.5), at(.99), at(.999)
	for _, share := range curveShares() {
		f.curve = append(f.curve, point{share, at(share)})
	}
	return f
}

// block is one comparison in one round.
type block struct {
	comparison string
	round      int
	base       figures
	rival      figures
}

// ratio is what the comparison's method judges.
func (b block) ratio(m method) float64 {
	switch m {
	case maximum:
		return b.rival.rate / b.base.rate
	case loaded:
		return b.rival.p99 / b.base.p99
	default:
		return b.rival.cpu / b.base.cpu
	}
}

// blocksOf keeps those of one comparison, in the order of rounds.
func blocksOf(all []block, comparison string) []block {
	return slices.DeleteFunc(slices.Clone(all), func(b block) bool { return b.comparison != comparison })
}

// middle is the median of a figure.
func middle(all []block, figure func(block) float64) float64 { return lab.Median(each(all, figure)) }

func each(all []block, figure func(block) float64) []float64 {
	var values []float64
	for _, b := range all {
		values = append(values, figure(b))
	}
	return values
}
