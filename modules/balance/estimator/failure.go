// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import "math"

const (
	recentStep   = 1. / 32 // weight of one attempt in the recent failure ratio
	recentMemory = 10e9    // ns in which the recent ratio fades, so that who is not asked is not charged for ever
	countMemory  = 60e9    // ns over which attempts are counted for the pool's ratio
	priorWeight  = 10      // attempts that the belief before any evidence is worth
	priorRatio   = .05     // that belief
	chance       = 1e-9    // a run of failures less likely than this is no chance
	trialChance  = .01     // the same just after a recovery, when there is reason to doubt
)

// failures is what is known of an upstream's failed attempts.
type failures struct {
	at            int64
	run           int     // failures in a row, as they came back
	fresh         int     // failures in a row, as they were sent: none sent since the first one was answered
	first         uint64  // number of the attempt that began the latter
	recent        float64 // moving ratio
	failed, total float64 // fading counts
}

func (f *failures) fade(now int64) {
	if now <= f.at {
		return
	}
	dt := float64(now - f.at)
	f.at = now
	f.recent *= math.Exp(-dt / recentMemory)
	counts := math.Exp(-dt / countMemory)
	f.failed *= counts
	f.total *= counts
}

// add takes the outcome of the attempt with a number.
func (f *failures) add(failed bool, number uint64) {
	f.total++
	if !failed {
		f.run = 0
		if number > f.first {
			f.fresh = 0
		}
		f.recent -= f.recent * recentStep
		return
	}
	f.run++
	if f.fresh == 0 {
		f.first = number
	}
	f.fresh++
	f.failed++
	f.recent += (1 - f.recent) * recentStep
}

// inRow is the number of failures in a row when begun attempts were sent in all. When an upstream goes bad, answers to
// what it got before still come in and say nothing of its state; so the order of sending counts too, provided that
// at least half of what was sent since has failed already: slow good answers may be under way.
func (f *failures) inRow(begun uint64) int {
	if uint64(f.fresh)*2 > begun-f.first {
		return max(f.run, f.fresh)
	}
	return f.run
}

// ratio is the failure ratio with a belief mixed in, so that a few lucky attempts do not set the pool's standard.
func (f *failures) ratio() float64 {
	return (f.failed + priorRatio*priorWeight) / (f.total + priorWeight)
}

// excess is how much more than the pool's best the upstream failed lately, beyond what may be chance.
func (f *failures) excess(best, tolerance float64) float64 {
	return max(0, f.recent-best-tolerance-2*deviation(best))
}

// deviation is the standard deviation of the recent ratio where every attempt fails with the ratio best.
func deviation(best float64) float64 { return math.Sqrt(best * (1 - best) * recentStep / 2) }

// runLimit is how many failures in a row are no chance where every attempt fails with the ratio best.
func runLimit(least int, best, chance float64) int {
	if best >= .99 {
		return math.MaxInt
	}
	return max(least, int(math.Ceil(math.Log(chance)/math.Log(best))))
}

// suspicious says why the upstream should be ejected, or Sound.
func (f *failures) suspicious(p *Params, best float64, inRow int, trial bool) Reason {
	if p.EjectAfter > 0 {
		limit := runLimit(p.EjectAfter, best, chance)
		if trial {
			limit = min(limit, runLimit(1, best, trialChance))
		}
		if inRow >= limit {
			return FailedInARow
		}
	}
	if p.EjectRatio > 0 && f.recent-best-3*deviation(best) >= p.EjectRatio {
		return FailureRatio
	}
	return Sound
}
