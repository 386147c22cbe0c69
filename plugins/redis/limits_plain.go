// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

// plain is the dialect of the other scripts, which work the result out.
type plain struct{ spec reqlimit.Spec }

// What a script tells of a window is four numbers: how much fitted in roomBytes, then how long until more does, how long until
// the least would fit, and the receipt, in timeBytes each.
const (
	roomBytes    = 5
	verdictBytes = roomBytes + 3*timeBytes
)

// size implements dialect.
func (plain) size(d *decision) int {
	if d.give {
		return 0
	}
	return verdictBytes * len(d.rule.Windows)
}

// read implements dialect.
func (plain) read(d *decision, result *window.Result) error {
	result.Allowed, result.Violated, result.Retry = true, -1, 0
	for i, w := range d.rule.Windows {
		told := d.state[i*verdictBytes : (i+1)*verdictBytes]
		times := told[roomBytes:]
		room, reset := number(told[:roomBytes]), microseconds(times[:timeBytes])
		result.States[i] = window.State{Remaining: max(room-max(d.granted, 0), 0), Reset: reset}
		result.Receipt[i] = number(times[2*timeBytes:])
		if d.granted >= 0 || room >= d.low {
			continue
		}
		wait := microseconds(times[timeBytes : 2*timeBytes])
		if d.low > w.Capacity() {
			wait = window.Never
		}
		result.Refuse(i, wait)
	}
	if d.granted < 0 && result.Allowed {
		return fmt.Errorf("a refusal without a reason: %w", errReply)
	}
	return nil
}

func microseconds(text string) time.Duration { return time.Duration(number(text)) * time.Microsecond }

// unit implements dialect: the period, or with gcra how long one unit takes to drain.
func (p plain) unit(w window.Window) float64 {
	period := w.Period.Microseconds()
	if p.spec.Algorithm == reqlimit.GCRA {
		return interval(period, w.Limit)
	}
	return float64(period)
}

// interval is how long one unit takes to drain, rounded up to a fraction of a microsecond by which Lua, whose numbers have 53
// bits, can count as many of them as the limit has without an error: a burst must be room for a burst.
func interval(period, limit int64) float64 {
	shift := 52 - bits.Len64(uint64(period))
	return math.Ldexp(float64((period<<shift+limit-1)/limit), -shift)
}
