// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package window is the arithmetic of request limits: how much of a limit is left, when there will be more, and what counting
// a request changes. It knows no store, no key and no clock, so it is tested by traces in virtual time, and stores in memory
// are built upon it.
//
// The state of a window is a few 32-bit words without pointers, which are all zero at first. Times are nanoseconds since a
// moment that the caller chooses once for a state; they may not be negative.
package window

import (
	"fmt"
	"hash/fnv"
	"time"
)

const (
	// MaxLimit bounds a limit, and what one request may cost.
	MaxLimit = 1_000_000_000
	// MaxWindows bounds how many windows count one request.
	MaxWindows = 8
	// MinPeriod and MaxPeriod bound a period.
	MinPeriod = 100 * time.Millisecond
	// MaxPeriod is the longest period.
	MaxPeriod = 366 * 24 * time.Hour
	// Never is the wait for what will not come: a cost above the limit.
	Never = time.Duration(1<<63 - 1)
)

// Window is one limit in one stretch of time.
type Window struct {
	// Limit is how much may be counted within any Period; with concurrency, how much may be held at once.
	Limit int64
	// Period is the stretch of time. Concurrency has none.
	Period time.Duration
	// Burst is how much GCRA lets through at once; the other algorithms have zero here, and let the limit through.
	Burst int64
}

// Capacity is how much may be counted at once.
func (w Window) Capacity() int64 {
	if w.Burst > 0 {
		return w.Burst
	}
	return w.Limit
}

// Rule is the windows that count a request: it passes if its cost fits into all of them.
type Rule struct {
	// Windows are at least one, MaxWindows at most.
	Windows []Window
	// Shape tells states apart that cannot be read as one another. Limits are no part of it, so a client that is given another
	// limit keeps what is counted.
	Shape uint64
	// Longest is the longest period.
	Longest time.Duration
}

// NewRule makes a rule of windows.
func NewRule(windows ...Window) Rule {
	r := Rule{Windows: windows}
	h := fnv.New64a()
	for _, w := range windows {
		fmt.Fprintf(h, "%d %t,", w.Period, w.Limit > wide)
		r.Longest = max(r.Longest, w.Period)
	}
	r.Shape = h.Sum64()
	return r
}

// wide is the limit above which a count takes more than two bytes, where a store packs counts.
const wide = 1<<16 - 1

// Bytes is how many bytes a packed count of the rule takes.
func (r Rule) Bytes() int {
	for _, w := range r.Windows {
		if w.Limit > wide {
			return 4
		}
	}
	return 2
}

// Share is the rule for one of n proxies that cannot see the others' counts. Every limit stays at least one.
func (r Rule) Share(n int) Rule {
	share := Rule{Windows: make([]Window, len(r.Windows)), Shape: r.Shape, Longest: r.Longest}
	for i, w := range r.Windows {
		w.Limit = max(w.Limit/int64(n), 1)
		if w.Burst > 0 {
			w.Burst = max(w.Burst/int64(n), 1)
		}
		share.Windows[i] = w
	}
	return share
}

// Verdict is what an algorithm says of one window.
type Verdict struct {
	// Room is how much would fit, before the cost that was asked for.
	Room int64
	// Fits says whether that cost does.
	Fits bool
	// Retry is how long until the cost would fit, if it does not; Never if it is more than the limit.
	Retry time.Duration
	// Reset is how long until Room grows, counting the cost if it fits.
	Reset time.Duration
}

// Algorithm is a way to count. Implementations are values without state.
type Algorithm interface {
	// Check brings the words up to now and says whether cost, which may be zero, fits.
	Check(words []uint32, w Window, now, cost int64) Verdict
	// Add counts a cost after Check, at the same time. It returns what Give needs. A cost that does not fit fills the window.
	Add(words []uint32, w Window, now, cost int64) (receipt int64)
	// Give takes back what Add counted, as if it had never been, as far as it still counts.
	Give(words []uint32, w Window, now, receipt, cost int64)
}

// State is what a store tells of one window after a decision.
type State struct {
	// Remaining is how much more would fit now.
	Remaining int64
	// Reset is how long until Remaining grows.
	Reset time.Duration
}

// Result is a decision.
type Result struct {
	// Allowed says whether the request may pass.
	Allowed bool
	// Violated is the index of the window that refused it, the one with the longest wait; -1 if none did.
	Violated int
	// Retry is how long until it would pass, if it may not; Never if it cannot.
	Retry time.Duration
	// States are those of the rule's windows, in their order.
	States [MaxWindows]State
	// Receipt is what giving back needs.
	Receipt Receipt
}

// Receipt says where a decision was counted. Only the counters that made it can read it.
type Receipt [MaxWindows]int64

// Decide decides on one request, and counts it if all windows have room, or in any case if always is set. words holds the
// states of all windows, stride words each.
func Decide(a Algorithm, words []uint32, stride int, r *Rule, now, cost int64, always bool, out *Result) {
	out.Allowed, out.Violated, out.Retry = true, -1, 0
	for i, w := range r.Windows {
		v := a.Check(words[i*stride:(i+1)*stride], w, now, cost)
		out.States[i] = State{v.Room, v.Reset}
		if !v.Fits && cost > 0 { // nothing always fits, also where a lower limit is exceeded already
			out.Refuse(i, v.Retry)
		}
	}
	if cost == 0 || !out.Allowed && !always {
		return
	}
	for i, w := range r.Windows {
		out.Receipt[i] = a.Add(words[i*stride:(i+1)*stride], w, now, cost)
		out.States[i].Remaining = max(out.States[i].Remaining-cost, 0)
	}
}

// Refuse notes that window i refuses for a time.
func (out *Result) Refuse(i int, retry time.Duration) {
	out.Allowed = false
	if out.Violated < 0 || retry > out.Retry {
		out.Violated, out.Retry = i, retry
	}
}

// get64 and put64 keep a 64-bit number in two words.
func get64(words []uint32) int64 { return int64(uint64(words[0]) | uint64(words[1])<<32) }

func put64(words []uint32, v int64) { words[0], words[1] = uint32(v), uint32(uint64(v)>>32) }
