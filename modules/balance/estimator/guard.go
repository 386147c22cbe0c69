// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

// Admit prepares the choice of a policy that knows nothing of all this (Caddy's own): it fills in admit which candidates
// it may choose from, and returns how many. Ejected upstreams are left out; ramping ones are let in for a growing part
// of the requests, up to a growing number under way. There is always at least one, if there are candidates.
//
// A Choice with Why Probed means that the request is a probe: it goes to Choice.To, and the policy is not asked.
// Otherwise To is None, or an upstream that is Due, and Copy and Own as for Choose. admit must be as long as candidates.
func (c *Chooser) Admit(now int64, candidates []Candidate, r Request, admit []bool) (int, Choice) {
	none := Choice{To: None, Copy: None}
	if len(candidates) == 0 {
		return 0, none
	}
	var index [1]int32 // seekProbe looks at one candidate at a time
	s := scan{index: index[:]}
	c.begin(&s, now, candidates, r)
	panicking := c.pool.panicking.Load()
	total := int64(0)
	for i := range candidates {
		total += candidates[i].Upstream.load()
	}
	admitted, sound := 0, 0
	for i := range candidates {
		u := candidates[i].Upstream
		isOut := c.isOut(&s, u, u.flag.Load()) && !panicking
		if isOut {
			s.index[0] = int32(i)
			s.seekProbe(0, u, &c.params)
			if s.probe != None {
				return 0, Choice{To: i, Copy: None, Why: Probed}
			}
		} else {
			sound++
		}
		admit[i] = !isOut && c.admits(&s, i, total)
		if admit[i] {
			admitted++
		}
	}
	if admitted == 0 {
		admitted = admitAnyway(candidates, admit, sound > 0 && !panicking)
	}
	none.Copy, none.Own = s.copyTo, s.own
	if s.due != None {
		none.To, none.Why = s.due, Due
	}
	return admitted, none
}

// ClaimProbe takes the right to probe an upstream that is Due, for one request.
func (c *Chooser) ClaimProbe(now int64, u *Upstream) bool {
	return u.Ejected() && u.ejection.claim(&u.ejection.nextClient, now, &c.params)
}

// admits draws whether candidate i takes part, if it ramps.
func (c *Chooser) admits(s *scan, i int, total int64) bool {
	u := s.candidates[i].Upstream
	flags := u.flag.Load()
	if flags&doubted != 0 && u.waiting.Load() > 0 {
		return false
	}
	fraction := float64(c.ramp(s.now, u, flags))
	if fraction >= 1 {
		return true
	}
	if s.request.Key != 0 {
		return s.request.portion(i) < max(fraction, c.params.Explore)*(1<<32)
	}
	load := u.load()
	average := float64(total-load) / float64(max(1, len(s.candidates)-1))
	// The least part is the exploration's: a fraction of 0 would never begin.
	return load < rampCap(fraction, average) && float64(s.draw32()) < max(fraction, c.params.Explore)*(1<<32)
}

// portion is the part of the keys that the request's stands in for candidate i, from 0 to 2^32: the same for every request
// with the key, and another for every candidate.
func (r *Request) portion(i int) float64 {
	x := (r.Key + uint64(i)) * 0x9e3779b97f4a7c15
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	return float64(x >> 32)
}

// admitAnyway lets in the ramping ones, or if there is nobody else, all.
func admitAnyway(candidates []Candidate, admit []bool, sound bool) (admitted int) {
	for i := range candidates {
		admit[i] = !sound || candidates[i].Upstream.flag.Load()&ejected == 0
		if admit[i] {
			admitted++
		}
	}
	if admitted == 0 { // they were ejected a moment ago
		return admitAnyway(candidates, admit, false)
	}
	return admitted
}
