// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import "math"

// slotState says how a candidate may be used for the request at hand.
type slotState uint8

const (
	usable slotState = iota
	near             // usable, and of the nearest zone so far
	held             // its ramp allows no more for now
	far              // a nearer zone, or one that does not queue, is free
	out              // ejected
)

// slot is a candidate under consideration.
type slot struct {
	score, rank float32
	ramp        float32
	load        int32
	state       slotState
	zone        uint8
	excessive   bool // it fails more than others
	stalled     bool
}

// scan is one choice in the making. It lives on the stack.
type scan struct {
	now        int64
	candidates []Candidate
	request    Request
	partial    bool // a retry that does not see those that it has tried
	random     uint64
	probe      int  // slot that this request probes
	copyTo     int  // candidate that a copy probes
	own        bool // not a copy does, but a request of the proxy's own
	due        int  // candidate that a request with a key may probe
	zoned      bool
	ramping    bool // some slot is
	n          int
	total      int64
	index      []int32
	slots      []slot
}

// fewSlots is the size of most pools, for which a scan shall touch little memory.
const fewSlots = 16

// draw32 returns 32 random bits: a linear congruential step, of which the upper half is good, seeded for each choice.
func (s *scan) draw32() uint32 {
	s.random = s.random*6364136223846793005 + 1442695040888963407
	return uint32(s.random >> 32)
}

// draw fills in which candidates are considered: all, or a sample with chance repetitions, which do no harm.
func (s *scan) draw(sample int) {
	n := len(s.candidates)
	if n <= FullScan {
		s.n = n
		for i := range s.n {
			s.index[i] = int32(i)
		}
		return
	}
	s.n = sample
	for i := range s.n {
		s.index[i] = int32(uint64(s.draw32()) * uint64(n) >> 32)
	}
}

// assess scores every slot, ejects who became suspicious, and looks for probes that are due.
func (c *Chooser) assess(s *scan) {
	for i := range s.slots[:s.n] {
		candidate := &s.candidates[s.index[i]]
		slot := &s.slots[i]
		slot.ramp, slot.zone = 1, candidate.Zone
		s.zoned = s.zoned || slot.zone > 0
		c.score(s, slot, candidate)
		if flags := candidate.Upstream.flag.Load(); flags != known {
			c.consult(s, i, candidate.Upstream, flags)
		}
		if slot.stalled && slot.state == usable && s.probe == None && !s.request.Retry && candidate.Upstream.look(s.now) {
			s.probe = i
		}
	}
}

// consult takes the flags of a slot into account: they are rare.
func (c *Chooser) consult(s *scan, i int, u *Upstream, flags uint32) {
	slot := &s.slots[i]
	isOut := c.isOut(s, u, flags)
	slot.excessive = flags&excessive != 0
	slot.ramp = c.ramp(s.now, u, flags)
	s.ramping = s.ramping || slot.ramp < 1
	switch {
	case isOut && !c.pool.panicking.Load():
		slot.state = out
		s.seekProbe(i, u, &c.params)
	case flags&doubted != 0 && u.waiting.Load() > 0:
		slot.state = held
	}
}

// isOut reports whether an upstream is ejected, ejecting it if it became suspicious. A retry that sees only a part of the
// pool cannot tell how many the pool can do without: it merely goes elsewhere.
func (c *Chooser) isOut(s *scan, u *Upstream, flags uint32) bool {
	if flags&(suspect|ejected) != suspect {
		return flags&ejected != 0
	}
	return s.partial || c.consider(s.now, u, s.candidates, s.request.Pool)
}

// ramp is how far the upstream is on its way into the pool.
func (c *Chooser) ramp(now int64, u *Upstream, flags uint32) float32 {
	switch {
	case flags&known == 0 && c.pool.established.Load():
		return 0
	case flags&ramping != 0 && c.pool.ramps.Load():
		return float32(u.RampFraction(now))
	default:
		return 1
	}
}

// seekProbe claims a probe of an ejected upstream that is due: by a copy, else by the request itself, though only where the
// proxy cannot ask first, or was answered.
func (s *scan) seekProbe(i int, u *Upstream, p *Params) {
	if s.request.Retry || s.probe != None || s.copyTo != None || u.waiting.Load() > u.stuck() {
		return
	}
	e := &u.ejection
	if s.request.Copyable && e.claim(&e.nextCopy, s.now, p) {
		s.copyTo = int(s.index[i])
		return
	}
	if s.request.Askable && !e.open.Load() {
		if e.claim(&e.nextOwn, s.now, p) {
			s.copyTo, s.own = int(s.index[i]), true
		}
		return
	}
	if s.request.Key != 0 {
		if e.nextClient.Load() <= s.now {
			s.due = int(s.index[i])
		}
		return
	}
	if e.claim(&e.nextClient, s.now, p) {
		s.probe = i
	}
}

// score fills in what going there would cost, and the rank that decides between equals. To what is under way, the request
// itself and a part of one more are added by chance, and to nothing a part of two: where next to nothing is under way, the
// upstream with the luckiest latencies would else get everything, and idle ones that are nearly as quick next to nothing.
func (c *Chooser) score(s *scan, slot *slot, candidate *Candidate) {
	u := candidate.Upstream
	q := u.load()
	s.total += q
	slot.load = int32(q)
	slot.rank = float32(s.draw32()>>8) * (1. / (1 << 24))
	if q == 0 {
		slot.rank *= 2
	} else {
		slot.rank += float32(q + 1)
	}
	if c.method == LeastBandwidth {
		slot.score = float32(u.bandwidth(s.now))
	} else {
		expected := u.published.at(level(q))
		slot.score = float32(u.published.price(expected, c.params.Queueing))
		slot.rank *= 1 + float32(loadFloat(&u.published.typical))
		if quiet := u.silence(s.now, expected, c.params.Silence); quiet > 0 {
			slot.score += float32(quiet)
			slot.stalled = true
		}
	}
	if w := float32(candidate.Weight); w > 0 && w != 1 {
		slot.rank /= w
		if c.method == LeastBandwidth {
			slot.score /= w
		}
	}
}

// holdBack leaves out the ramping slots that have as much as they may.
func (s *scan) holdBack() {
	for i := range s.slots[:s.n] {
		slot := &s.slots[i]
		if slot.ramp < 1 && slot.state == usable && slot.load >= s.cap(slot) {
			slot.state = held
		}
	}
}

// cap is how many requests a ramping slot may have under way.
func (s *scan) cap(slot *slot) int32 {
	average := float64(s.total-int64(slot.load)) / float64(max(1, s.n-1))
	return int32(rampCap(float64(slot.ramp), average))
}

// best returns the slot of the least rank among those within the band above the least score, or None. It works on the
// floats' bits, which sort like the floats as none is below 0: integers are compared without branches, and these would be
// mispredicted half the time.
func (s *scan) best(band float64) int {
	least := uint32(math.MaxUint32)
	for i := range s.slots[:s.n] {
		if slot := &s.slots[i]; slot.state == usable {
			least = min(least, math.Float32bits(slot.score))
		}
	}
	if least == math.MaxUint32 {
		return None
	}
	limit := math.Float32bits(math.Float32frombits(least) * float32(band))
	best := uint64(math.MaxUint64)
	for i := range s.slots[:s.n] {
		slot := &s.slots[i]
		if slot.state != usable {
			continue
		}
		rank := uint64(math.Float32bits(slot.rank))<<32 | uint64(i)
		if math.Float32bits(slot.score) > limit {
			rank = math.MaxUint64
		}
		best = min(best, rank)
	}
	return int(best & math.MaxUint32)
}

// lastResort returns the slot of the least rank when none is usable: better a full or ejected upstream than none.
func (s *scan) lastResort() int {
	best := 0
	for i := range s.slots[:s.n] {
		a, b := &s.slots[i], &s.slots[best]
		if a.state < b.state || (a.state == b.state && a.rank < b.rank) {
			best = i
		}
	}
	return best
}
