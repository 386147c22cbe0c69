// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import "math"

// rate is a fading byte rate.
type rate struct {
	at        int64
	perSecond float64
	perAnswer mean  // bytes of a whole answer: what a request that waits will bring
	total     int64 // bytes since the start
}

func (r *rate) fade(now int64, memory float64) {
	if now > r.at {
		r.perSecond *= math.Exp(-float64(now-r.at) / memory)
		r.at = now
	}
}

func (u *Upstream) received(now int64, bytes int) {
	memory := float64(u.params.RateMemory)
	u.rateMu.Lock()
	defer u.rateMu.Unlock()
	u.rate.fade(now, memory)
	u.rate.perSecond += float64(bytes) / memory * 1e9
	u.rate.total += int64(bytes)
}

// finished counts the bytes of a whole answer.
func (u *Upstream) finished(bytes int64) {
	u.rateMu.Lock()
	defer u.rateMu.Unlock()
	u.rate.perAnswer.add(float64(bytes), levelCap)
}

// bandwidth is the byte rate that u serves at now, with what the requests that wait for an answer will add to it; without
// these, all requests between two looks at the rate would go to the same upstream.
func (u *Upstream) bandwidth(now int64) float64 {
	memory := float64(u.params.RateMemory)
	u.rateMu.Lock()
	defer u.rateMu.Unlock()
	u.rate.fade(now, memory)
	return u.rate.perSecond + float64(u.waiting.Load())*u.rate.perAnswer.value/memory*1e9
}
