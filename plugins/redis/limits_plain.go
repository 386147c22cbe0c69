// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	_ "embed"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

//go:embed limits_several.lua
var severalSource string

// severalTimes makes a script of one decision into one of several.
func severalTimes(source string) *Script {
	return NewScript("local function decide(KEYS, ARGV)\n" + source + "end\n" + severalSource)
}

// plain is the dialect of the scripts that are written for one decision, and told and answer in numbers.
type plain struct{ spec reqlimit.Spec }

// ask implements dialect.
func (p plain) ask(list []*decision) (keys []string, args []any) {
	for _, d := range list {
		keys = append(keys, d.keys...)
		args = append(args, len(d.keys), 4+3*len(d.rule.Windows))
		args = p.arguments(args, d)
	}
	return keys, args
}

// hand implements dialect.
func (plain) hand(list []*decision, cmd *goredis.Cmd) error {
	replies, err := cmd.Slice()
	if err != nil || len(replies) != len(list) {
		return fmt.Errorf("%v: %w", cmd.Val(), errReply)
	}
	for i, d := range list {
		reply, _ := replies[i].([]any)
		if len(reply) > 0 {
			if granted, ok := reply[0].(int64); ok {
				d.granted, d.windows = granted, reply[1:]
				continue
			}
		}
		d.err = fmt.Errorf("%v: %w", replies[i], errReply)
	}
	return nil
}

// read implements dialect.
func (plain) read(d *decision, result *window.Result) error {
	if len(d.windows) != 4*len(d.rule.Windows) {
		return fmt.Errorf("%v: %w", d.windows, errReply)
	}
	result.Allowed, result.Violated, result.Retry = true, -1, 0
	for i, w := range d.rule.Windows {
		var told [4]int64
		for n := range told {
			told[n], _ = d.windows[4*i+n].(int64)
		}
		room, reset, retry, receipt := told[0], told[1], told[2], told[3]
		result.States[i] = window.State{Remaining: max(room-max(d.granted, 0), 0), Reset: time.Duration(reset) * time.Microsecond}
		result.Receipt[i] = receipt
		if d.granted >= 0 || room >= d.low {
			continue
		}
		wait := time.Duration(retry) * time.Microsecond
		if d.low > w.Capacity() {
			wait = window.Never
		}
		result.Refuse(i, wait)
	}
	return nil
}

// arguments appends those of one decision.
func (p plain) arguments(args []any, d *decision) []any {
	op, always := "take", "0"
	if d.give {
		op = "give"
	}
	if p.spec.Always {
		always = "1"
	}
	args = append(args, op, d.low, d.high, always)
	for i, w := range d.rule.Windows {
		args = append(args, w.Capacity(), p.unit(w), d.receipt[i])
	}
	return args
}

// unit is the time that the script is given with a limit, in microseconds.
func (p plain) unit(w window.Window) any {
	period := w.Period.Microseconds()
	if p.spec.Algorithm == reqlimit.GCRA {
		return strconv.FormatFloat(interval(period, w.Limit), 'f', -1, 64)
	}
	return period
}

// interval is how long one unit takes to drain, rounded up to a fraction of a microsecond by which Lua, whose numbers have 53
// bits, can count as many of them as the limit has without an error: a burst must be room for a burst.
func interval(period, limit int64) float64 {
	shift := 52 - bits.Len64(uint64(period))
	return math.Ldexp(float64((period<<shift+limit-1)/limit), -shift)
}
