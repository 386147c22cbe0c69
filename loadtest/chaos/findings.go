// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// count is how often something happened that must not, with the first few of them.
type count struct {
	mu    sync.Mutex
	n     int
	first []string
}

// maxExamples bounds what is told of one kind.
const maxExamples = 3

func (c *count) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n++; c.n <= maxExamples {
		c.first = append(c.first, fmt.Sprintf(format, args...))
	}
}

// peak is the largest value so far.
type peak struct{ atomic.Int64 }

func (p *peak) raise(to int64) {
	for at := p.Load(); to > at && !p.CompareAndSwap(at, to); at = p.Load() {
	}
}

// findings are what a run showed.
type findings struct {
	settings
	took          time.Duration
	faults, kills int
	filled        int // times the disk was full, so that lines were dropped

	gets, elsewhere, posts, orders, unknown       atomic.Int64
	bursts, limited, asBanned, purges             atomic.Int64
	reloads                                       atomic.Int64
	opened, leftOpen                              int64
	lines                                         int
	dropped                                       uint64 // lines, as the spool whose disk was full counts them
	localMost                                     peak   // requests of a burst that passed while Redis was away
	slowest                                       peak   // microseconds until a ban, its end or a purge held everywhere
	failedGETs, duplicates, lostOrders            count
	divergent, wedged, lost, over, under          count
	leaks, wronged, stale, cut, drained, accepted count
}

// promise is a promise with what broke it.
type promise struct {
	text    string
	broken  *count
	control bool // the control must break it
}

func (f *findings) promises() []promise {
	return []promise{
		{"failed GETs", &f.failedGETs, true},
		{"orders that took effect twice", &f.duplicates, true},
		{"orders that were confirmed without effect", &f.lostOrders, false},
		{"orders with different answers", &f.divergent, true},
		{"orders without an answer in the end", &f.wedged, false},
		{"log lines lost, beyond those that a full disk cost and the spool counted", &f.lost, true},
		{"bursts of which more passed than the limit allows", &f.over, true},
		{"bursts of which fewer passed", &f.under, false},
		{"answers to banned clients, later than 2 s", &f.leaks, true},
		{"refusals of clients who were let in, later than 2 s", &f.wronged, false},
		{"stale answers after a purge", &f.stale, true},
		{"streams cut", &f.cut, true},
		{"requests to what is drained", &f.drained, false},
		{"broken configurations that had an effect", &f.accepted, false},
	}
}

// String is the report.
func (f *findings) String() string {
	var out strings.Builder
	name := "Gatehouse"
	if f.control {
		name = "the control"
	}
	fmt.Fprintf(&out, "%s, seed %d: %d faults in %.0f s, %d kills of a proxy; three proxies, four upstreams, one Redis\n\n", name, f.seed,
		f.faults, f.took.Seconds(), f.kills)
	out.WriteString(lab.Row("what", "count") + lab.Row("---", "---:"))
	for _, row := range []struct {
		what string
		n    any
	}{
		{"GETs", f.gets.Load()},
		{"of these, asked again of another proxy after a broken connection", f.elsewhere.Load()},
		{"orders, each by two clients at once", f.orders.Load()},
		{"POSTs for them", f.posts.Load()},
		{"orders whose outcome nobody knows, as clients were told", f.unknown.Load()},
		{"log lines of answered GETs", f.lines},
		{"times that the disk of a spool was full until it dropped lines", f.filled},
		{"lines dropped then, as counted by the spool", f.dropped},
		{fmt.Sprintf("bursts of %d requests against a limit of %d", limit+limit/2, limit), f.bursts.Load()},
		{"requests refused by the limit", f.limited.Load()},
		{"the most of a burst that passed while Redis was away", f.localMost.Load()},
		{"requests of a banned client", f.asBanned.Load()},
		{"purges", f.purges.Load()},
		{"the slowest ban, end of a ban or purge to hold everywhere, in ms", f.slowest.Load() / 1000},
		{"reloads, half of them broken", f.reloads.Load()},
		{"streams open before and after", fmt.Sprintf("%d, %d", f.opened, f.leftOpen)},
	} {
		out.WriteString(lab.Row(row.what, fmt.Sprint(row.n)))
	}
	out.WriteString("\n" + lab.Row("must not be", "count") + lab.Row("---", "---:"))
	for _, p := range f.promises() {
		out.WriteString(lab.Row(p.text, fmt.Sprint(p.broken.n)))
	}
	for _, p := range f.promises() {
		for _, example := range p.broken.first {
			fmt.Fprintf(&out, "\n%s: %s", p.text, example)
		}
	}
	return strings.TrimSpace(out.String())
}

// verdict fails a run of Gatehouse that broke a promise, and one of the control that kept one.
func (f *findings) verdict() error {
	var broken []string
	for _, p := range f.promises() {
		switch {
		case !f.control && p.broken.n > 0:
			broken = append(broken, fmt.Sprintf("%s: %d", p.text, p.broken.n))
		case f.control && p.control && p.broken.n == 0:
			broken = append(broken, "the control kept its promise, so that these faults prove nothing: "+p.text)
		}
	}
	if f.opened != int64(f.streams) && !f.control {
		broken = append(broken, fmt.Sprintf("%d of %d streams were opened", f.opened, f.streams))
	}
	if len(broken) == 0 {
		return nil
	}
	return errors.New(strings.Join(broken, "; "))
}
