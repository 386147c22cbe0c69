// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import "time"

// Snapshot is what the admin API shows of an upstream. Latencies are in seconds.
type Snapshot struct {
	// Expected is the latency to expect of one more request at the present load.
	Expected float64 `json:"expected_seconds"`
	// Idle is the latency to expect when nothing queues.
	Idle float64 `json:"idle_seconds"`
	// Typical is the recent mean latency; as it ages, it approaches the pool's.
	Typical float64 `json:"typical_seconds"`
	// InFlight is the number of attempts that load the upstream, which streams do not.
	InFlight int64 `json:"in_flight"`
	// Waiting is the number of attempts without response headers.
	Waiting int64 `json:"waiting"`
	// Open is the number of all attempts under way, streams too.
	Open int64 `json:"open"`
	// FailureRatio is the recent failure ratio, 0 to 1, over about 32 attempts.
	FailureRatio float64 `json:"failure_ratio"`
	// FailedInARow is the number of failures since the last answer.
	FailedInARow int `json:"failed_in_a_row"`
	// Ejected is true while the upstream gets only probes.
	Ejected bool `json:"ejected"`
	// Reason is why: failed_in_a_row or failure_ratio; empty when it is not ejected.
	Reason string `json:"reason,omitempty"`
	// EjectedFor is how long it has been ejected.
	EjectedFor time.Duration `json:"ejected_for_ns,omitempty"`
	// NextProbe is the time until the next probe by a copy of a request.
	NextProbe time.Duration `json:"next_probe_ns,omitempty"`
	// NextClientProbe is the time until a client's own request is used as a probe, if none can be copied before, and if
	// the proxy's own requests, where it sends any, are answered.
	NextClientProbe time.Duration `json:"next_client_probe_ns,omitempty"`
	// Ejections is the number of ejections so far.
	Ejections int `json:"ejections"`
	// Probes is the number of probes so far.
	Probes int64 `json:"probes"`
	// Ramp is how far a new or recovered upstream has come, 0 to 1; 1 when there is no ramp.
	Ramp float64 `json:"ramp"`
	// BytesPerSecond is the recent rate of body bytes from the upstream, where the policy goes by it.
	BytesPerSecond float64 `json:"bytes_per_second,omitempty"`
	// Bytes is the number of body bytes received so far, where the policy goes by their rate.
	Bytes int64 `json:"bytes,omitempty"`
	Counts
}

// Snapshot returns what is known at now.
func (u *Upstream) Snapshot(now int64) Snapshot {
	s := Snapshot{
		InFlight: u.inFlight.Load(), Waiting: u.waiting.Load(), Open: u.open.Load(),
		Probes: u.ejection.probes.Load(), Ramp: u.RampFraction(now),
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.publish(now)
	s.Expected = u.published.at(level(u.load())) / 1e9
	s.Idle = u.idle.value / 1e9
	s.Typical = loadFloat(&u.published.typical) / 1e9
	s.FailureRatio, s.FailedInARow = u.failures.recent, u.failures.run
	s.Ejections, s.Counts = u.ejection.count, u.counts
	if u.flag.Load()&ejected != 0 {
		s.Ejected, s.Reason = true, u.ejection.reason.String()
		s.EjectedFor = time.Duration(now - u.ejection.since)
		s.NextProbe = time.Duration(max(0, u.ejection.nextCopy.Load()-now))
		s.NextClientProbe = time.Duration(max(0, u.ejection.nextClient.Load()-now))
	}
	u.rateMu.Lock()
	defer u.rateMu.Unlock()
	u.rate.fade(now, float64(u.params.RateMemory))
	s.BytesPerSecond, s.Bytes = u.rate.perSecond, u.rate.total
	return s
}

// InFlight is the number of attempts that load the upstream.
func (u *Upstream) InFlight() int64 { return u.inFlight.Load() }

// Open is the number of all attempts under way, streams too.
func (u *Upstream) Open() int64 { return u.open.Load() }

// Ejected reports whether the upstream gets only probes.
func (u *Upstream) Ejected() bool { return u.flag.Load()&ejected != 0 }

// AnyEjected reports whether some candidate gets only probes.
func AnyEjected(candidates []Candidate) bool {
	for i := range candidates {
		if candidates[i].Upstream.flag.Load()&ejected != 0 {
			return true
		}
	}
	return false
}
