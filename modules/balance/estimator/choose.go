// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import "math/rand/v2"

// None is the index of no candidate.
const None = -1

// Candidate is an upstream that a request could go to.
type Candidate struct {
	// Upstream is what is known of it.
	Upstream *Upstream
	// Weight is its configured weight, relative to the others: among upstreams that are equally quick, how much each has
	// under way (or serves, for least bandwidth) is in proportion to it. 0 means 1.
	Weight float64
	// Zone is its distance, if the configuration says so: a nearer zone (0 is the nearest) is used as long as it does not
	// queue. Latency alone cannot say this: it sends to the far upstreams only when the near ones are so full that
	// everybody waits as long as the way takes.
	Zone uint8
}

// Request is what a choice may know of a request.
type Request struct {
	// Copyable says that the method is safe (RFC 9110, section 9.2.1), that there is no body, and that the caller will
	// send a copy where Choice.Copy asks for one.
	Copyable bool
	// Askable says that the caller will send a request of its own where Choice.Own asks for one.
	Askable bool
	// Retry says that an attempt of this request failed already: it is not used to explore or to probe.
	Retry bool
	// Pool is the number of upstreams in the pool, with those that are no candidates because they are down, full or were
	// tried, without those that the operator drained. 0 means the number of candidates.
	Pool int
	// Key is for Admit alone. Where it is not 0, the policy binds requests with this key to an upstream. Then a ramp lets in
	// keys, so that one does not move to and fro, and a client's request probes only where the policy sends it (see Due).
	Key uint64
}

// Why is what made a choice.
type Why uint8

const (
	// Best means the best estimate, or the least bandwidth.
	Best Why = iota
	// Explored means that its turn came to be looked at, or to warm up.
	Explored
	// Probed means that it is ejected or stalled, and this request finds out whether it is back.
	Probed
	// LastResort means that no candidate is usable.
	LastResort
	// Due means that it is ejected, and a client's own request may probe it: one that the policy sends there if it may,
	// and that ClaimProbe grants. Admit says so of requests with a Key; the upstream is not admitted otherwise.
	Due
)

// Choice is where a request goes.
type Choice struct {
	// To is the index of the candidate that gets the request, or None if there are no candidates.
	To int
	// Copy is the index of an ejected candidate that should get a copy of the request, or None. The copy is an Attempt like
	// any other; its answer is thrown away. It finds out whether the upstream is back at no client's expense.
	Copy int
	// Own asks for a request of the proxy's own instead of the copy, as none could be made for long: any that shows whether
	// the upstream answers at all. It is no Attempt; Upstream.Asked takes its outcome.
	Own bool
	// Why is what made the choice.
	Why Why
}

// Method is what upstreams are compared by.
type Method uint8

const (
	// LeastResponseTime compares the expected latency at the present load.
	LeastResponseTime Method = iota
	// LeastBandwidth compares the byte rate presently served.
	LeastBandwidth
)

// Chooser chooses among the upstreams of one pool. Use NewChooser.
type Chooser struct {
	params Params
	method Method
	random func() uint64
	pool   pool
}

// NewChooser returns a chooser. The random function is for simulations that repeat themselves; nil means the runtime's,
// which may be called from many goroutines.
func NewChooser(p Params, m Method, random func() uint64) *Chooser {
	if random == nil {
		random = rand.Uint64
	}
	p = p.withDefaults()
	p.Queueing = max(0, p.Queueing)
	return &Chooser{params: p, method: m, random: random}
}

// Choose returns where a request that arrives at now should go. It allocates nothing.
func (c *Chooser) Choose(now int64, candidates []Candidate, r Request) Choice {
	switch n := len(candidates); {
	case n == 0:
		return Choice{To: None, Copy: None}
	case n <= fewSlots:
		var index [fewSlots]int32
		var slots [fewSlots]slot
		return c.choose(&scan{index: index[:], slots: slots[:]}, now, candidates, r)
	default:
		return c.chooseAmongMany(now, candidates, r)
	}
}

// chooseAmongMany has a frame of two kilobytes, which choices among few do not touch.
//
//go:noinline
func (c *Chooser) chooseAmongMany(now int64, candidates []Candidate, r Request) Choice {
	var index [FullScan]int32
	var slots [FullScan]slot
	return c.choose(&scan{index: index[:], slots: slots[:]}, now, candidates, r)
}

func (c *Chooser) choose(s *scan, now int64, candidates []Candidate, r Request) Choice {
	c.begin(s, now, candidates, r)
	s.draw(c.params.Sample)
	c.assess(s)
	if s.probe != None {
		return Choice{To: int(s.index[s.probe]), Copy: None, Why: Probed}
	}
	if s.ramping {
		s.holdBack()
	}
	choice := Choice{Copy: s.copyTo, Own: s.own}
	if i := c.explore(s); i != None {
		choice.To, choice.Why = int(s.index[i]), Explored
		return choice
	}
	if s.zoned {
		c.nearest(s)
	}
	i := s.best(c.band())
	if i == None {
		i, choice.Why = s.lastResort(), LastResort
	}
	choice.To = int(s.index[i])
	return choice
}

// begin fills in a scan, and renews the figures of the pool, which a retry cannot that sees only a part of it.
func (c *Chooser) begin(s *scan, now int64, candidates []Candidate, r Request) {
	r.Pool = max(r.Pool, len(candidates))
	s.now, s.candidates, s.request, s.random = now, candidates, r, c.random()
	s.probe, s.copyTo, s.due = None, None, None
	s.partial = r.Retry && r.Pool > len(candidates)
	if !s.partial {
		c.refresh(now, candidates, r.Pool)
	}
}

func (c *Chooser) band() float64 {
	if c.method == LeastBandwidth || c.params.Band < 0 {
		return 1
	}
	return 1 + c.params.Band
}

// explore returns the slot whose turn it is regardless of its estimate. One slot is drawn, and takes the request with the
// part of its fair share that it is due at least: so everybody gets it, at the cost of one draw.
func (c *Chooser) explore(s *scan) int {
	i := int(uint64(s.draw32()) * uint64(s.n) >> 32)
	slot := &s.slots[i]
	floor, limit := c.params.Explore, int32(1)
	if slot.ramp < 1 {
		floor, limit = max(floor, float64(slot.ramp)), s.cap(slot)
	}
	if s.request.Retry || slot.load >= limit || slot.state != usable || slot.excessive {
		return None
	}
	if float64(s.draw32()) >= floor*(1<<32) {
		return None
	}
	return i
}

// nearest leaves only the upstreams that do not queue, of the nearest zone that has any; all, if there are none.
func (c *Chooser) nearest(s *scan) {
	nearest, found := uint8(0), false
	for i := range s.slots[:s.n] {
		slot := &s.slots[i]
		if slot.state != usable || (found && slot.zone > nearest) {
			continue
		}
		if c.method == LeastBandwidth || s.candidates[s.index[i]].Upstream.relaxed(s.now, &c.params) {
			slot.state = near
			nearest, found = slot.zone, true
		}
	}
	if !found {
		return
	}
	for i := range s.slots[:s.n] {
		slot := &s.slots[i]
		switch {
		case slot.state == near && slot.zone == nearest:
			slot.state = usable
		case slot.state == near || slot.state == usable:
			slot.state = far
		}
	}
}

// relaxed reports whether one more request would hardly queue.
func (u *Upstream) relaxed(now int64, p *Params) bool {
	return u.silence(now, u.published.at(level(u.load())), p.Silence) == 0 && u.queueing() <= p.ZoneSpill
}
