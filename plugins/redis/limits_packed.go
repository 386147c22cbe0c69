// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

// What scripts are told, and what they answer, is packed into a few strings, which cost Redis and this process least.
const (
	// timeBytes is how many bytes of an answer are the time.
	timeBytes = 7
	// grantBytes is how many bytes of a decision say what was granted.
	grantBytes = 5
)

// ask writes what a script is told.
func (c *limitCounters) ask(list []*decision) (keys []string, args []any) {
	keys = make([]string, 0, len(list))
	plan := make([]byte, 0, 13*len(list))
	var rules []*window.Rule
	for _, d := range list {
		n := slices.Index(rules, d.rule)
		if n < 0 {
			n = len(rules)
			rules = append(rules, d.rule)
		}
		keys = append(keys, d.keys...)
		plan = binary.BigEndian.AppendUint16(plan, uint16(n))
		plan = append(plan, flag(d.give))
		plan = append5(append5(plan, d.low), d.high)
		for w := range d.rule.Windows {
			if d.give {
				plan = append7(plan, d.receipt[w])
			}
		}
	}
	args = append(make([]any, 0, 3+len(rules)), c.spec.Buckets+1, int(flag(c.spec.Always)), plan)
	for _, rule := range rules {
		text := append(make([]byte, 0, 1+13*len(rule.Windows)), byte(rule.Bytes()))
		for _, w := range rule.Windows {
			text = binary.BigEndian.AppendUint64(append5(text, w.Capacity()), math.Float64bits(c.dialect.unit(w)))
		}
		args = append(args, text)
	}
	return keys, args
}

// hand gives each decision the part of the answer that is about it.
func (c *limitCounters) hand(list []*decision, cmd *goredis.Cmd) error {
	reply, err := cmd.Text()
	if err != nil || len(reply) < timeBytes {
		return fmt.Errorf("%q: %w", cmd.Val(), errReply)
	}
	now, reply := number(reply[:timeBytes]), reply[timeBytes:]
	for _, d := range list {
		size := grantBytes + c.dialect.size(d)
		if len(reply) < size {
			return fmt.Errorf("an answer that is too short: %w", errReply)
		}
		d.now, d.granted, d.state, reply = now, number(reply[:grantBytes])-1, reply[grantBytes:size], reply[size:]
	}
	return nil
}

// flag is 1 or 0.
func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}

// append5 and append7 append numbers as a script reads them; number reads one.
func append5(to []byte, n int64) []byte {
	return append(to, byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func append7(to []byte, n int64) []byte { return append5(append(to, byte(n>>48), byte(n>>40)), n) }

func number(text string) (n int64) {
	for _, b := range []byte(text) {
		n = n<<8 | int64(b)
	}
	return n
}
