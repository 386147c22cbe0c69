// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package window

import "time"

// Exact remembers when each request came, to a millionth of the period, in a ring. No stretch of a period ever holds more than
// the limit, and nothing that would fit is refused.
//
// An idle state must be cleared within 4,000 periods: the times in it wrap around.
type Exact struct{}

// Words is the length of a window's state for a limit: where the ring begins, how many entries it has, what they sum to, and
// an entry of a time and a cost for each request that may be remembered.
func (Exact) Words(limit int64) int { return ringHeader + 2*int(limit) }

// The words of a ring before its entries.
const (
	ringHead = iota
	ringLength
	ringTotal
	ringHeader
)

// ring is the state of a window, in words.
type ring []uint32

func (r ring) capacity() int { return (len(r) - ringHeader) / 2 }

// limit is the window's, or what the ring has room for: a rule that came after the state was made may ask for more.
func (r ring) limit(w Window) int64 { return min(w.Limit, int64(r.capacity())) }

// at returns the words of the i-th oldest entry: its tick and its cost.
func (r ring) at(i int) []uint32 {
	slot := int(r[ringHead]) + i
	if n := r.capacity(); slot >= n {
		slot -= n
	}
	return r[ringHeader+2*slot : ringHeader+2*slot+2]
}

// drop forgets the oldest, a cost's worth of it.
func (r ring) drop(cost uint32) {
	for cost > 0 && r[ringLength] > 0 {
		if oldest := r.at(0); oldest[1] > cost {
			oldest[1] -= cost
			r[ringTotal] -= cost
			return
		}
		cost -= r.at(0)[1]
		r.dropOldest()
	}
}

// dropOldest forgets the oldest entry.
func (r ring) dropOldest() {
	r[ringTotal] -= r.at(0)[1]
	if r[ringHead]++; int(r[ringHead]) == r.capacity() {
		r[ringHead] = 0
	}
	r[ringLength]--
}

// push adds an entry, or adds to the newest one if that has the same tick.
func (r ring) push(tick, cost uint32) {
	r[ringTotal] += cost
	if n := int(r[ringLength]); n > 0 {
		if newest := r.at(n - 1); newest[0] == tick {
			newest[1] += cost
			return
		}
	}
	if int(r[ringLength]) == r.capacity() {
		r.compact()
	}
	r[ringLength]++
	copy(r.at(int(r[ringLength])-1), []uint32{tick, cost})
}

// compact forgets entries of which all was given back. There is one in a full ring: an entry has a cost of at least one, and
// the sum with the one that is to come is within the limit.
func (r ring) compact() {
	kept := 0
	for i := range int(r[ringLength]) {
		if e := r.at(i); e[1] > 0 {
			copy(r.at(kept), e)
			kept++
		}
	}
	r[ringLength] = uint32(kept)
}

// unit is the length of a tick.
func (Exact) unit(w Window) int64 { return max(int64(w.Period)>>20, 1) }

// life is how many ticks an entry counts: one more than a period has, as its request may have come at its tick's end.
func (x Exact) life(w Window) uint32 {
	unit := x.unit(w)
	return uint32((int64(w.Period)+unit-1)/unit) + 1
}

// Check implements Algorithm.
func (x Exact) Check(words []uint32, w Window, now, cost int64) Verdict {
	r, tick, life := ring(words), uint32(now/x.unit(w)), x.life(w)
	for r[ringLength] > 0 && age(tick, r.at(0)[0]) >= life {
		r.dropOldest()
	}
	used, limit := int64(r[ringTotal]), r.limit(w)
	v := Verdict{Room: max(limit-used, 0), Fits: used+cost <= limit, Reset: x.leaves(r, w, now, 1)}
	switch {
	case v.Fits:
	case cost > limit:
		v.Retry = Never
	default:
		v.Retry = x.leaves(r, w, now, used+cost-limit)
	}
	return v
}

// leaves returns how long until at least amount of what is remembered has left the window.
func (x Exact) leaves(r ring, w Window, now, amount int64) time.Duration {
	unit, tick, life := x.unit(w), uint32(now/x.unit(w)), x.life(w)
	into := now % unit
	var freed int64
	for i := range int(r[ringLength]) {
		e := r.at(i)
		if freed += int64(e[1]); freed >= amount {
			return time.Duration(int64(life-age(tick, e[0]))*unit - into)
		}
	}
	return time.Duration(int64(life)*unit - into)
}

// age is how many ticks ago a tick was. A goroutine may have read the clock a moment before the one whose entry is newest.
func age(now, tick uint32) uint32 {
	if d := now - tick; d < 1<<31 {
		return d
	}
	return 0
}

// Add implements Algorithm. A cost that does not fit takes the place of the oldest; what was counted under a higher limit stays.
func (x Exact) Add(words []uint32, w Window, now, cost int64) int64 {
	r, tick := ring(words), uint32(now/x.unit(w))
	limit := r.limit(w)
	cost = min(cost, limit)
	r.drop(uint32(min(max(int64(r[ringTotal])+cost-limit, 0), cost)))
	if n := int(r[ringLength]); n > 0 && age(tick, r.at(n - 1)[0]) == 0 {
		tick = r.at(n - 1)[0] // entries are in the order of their ticks
	}
	r.push(tick, uint32(cost))
	return int64(tick)
}

// Give implements Algorithm.
func (x Exact) Give(words []uint32, _ Window, _, receipt, cost int64) {
	r := ring(words)
	for i := int(r[ringLength]) - 1; i >= 0; i-- {
		if e := r.at(i); e[0] == uint32(receipt) {
			back := min(e[1], uint32(cost))
			e[1] -= back
			r[ringTotal] -= back
			return
		}
	}
}
