// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

// packed is the dialect of the sliding window, the default: everything in a few strings, which cost Redis and this process
// least. The result is worked out here.
type packed struct{ spec reqlimit.Spec }

const (
	// timeBytes is how many bytes of an answer are the time.
	timeBytes = 7
	// grantBytes is how many bytes of a decision say what was granted.
	grantBytes = 5
	// epochBytes and totalBytes are how many bytes a window's state has before its counts: the newest bucket's number, and
	// their sum.
	epochBytes, totalBytes = 6, 5
)

// stateBytes is how many bytes a window's state has.
func (p packed) stateBytes(rule *window.Rule) int {
	return epochBytes + totalBytes + rule.Bytes()*(p.spec.Buckets+1)
}

// ask implements dialect.
func (p packed) ask(list []*decision) (keys []string, args []any) {
	keys = make([]string, len(list))
	plan := make([]byte, 0, 13*len(list))
	var rules []*window.Rule
	for i, d := range list {
		n := slices.Index(rules, d.rule)
		if n < 0 {
			n = len(rules)
			rules = append(rules, d.rule)
		}
		keys[i] = d.keys[0]
		plan = binary.BigEndian.AppendUint16(plan, uint16(n))
		if d.give {
			plan = append(plan, 1)
		} else {
			plan = append(plan, 0)
		}
		plan = append5(append5(plan, d.low), d.high)
		for w := range d.rule.Windows {
			if d.give {
				plan = append6(plan, d.receipt[w])
			}
		}
	}
	always := "0"
	if p.spec.Always {
		always = "1"
	}
	args = append(make([]any, 0, 3+len(rules)), p.spec.Buckets+1, always, plan)
	for _, rule := range rules {
		text := append(make([]byte, 0, 1+11*len(rule.Windows)), byte(rule.Bytes()))
		for _, w := range rule.Windows {
			text = append6(append5(text, w.Limit), p.width(w))
		}
		args = append(args, text)
	}
	return keys, args
}

// hand implements dialect.
func (p packed) hand(list []*decision, cmd *goredis.Cmd) error {
	reply, err := cmd.Text()
	if err != nil || len(reply) < timeBytes {
		return fmt.Errorf("%q: %w", cmd.Val(), errReply)
	}
	now, reply := number(reply[:timeBytes]), reply[timeBytes:]
	for _, d := range list {
		size := grantBytes + len(d.rule.Windows)*p.stateBytes(d.rule)
		if len(reply) < size {
			return fmt.Errorf("an answer that is too short: %w", errReply)
		}
		d.now, d.granted, d.state, reply = now, number(reply[:grantBytes])-1, reply[grantBytes:size], reply[size:]
	}
	return nil
}

// read implements dialect: it works the result out from the state.
func (p packed) read(d *decision, result *window.Result) error {
	algorithm, size := window.Sliding{Buckets: p.spec.Buckets}, p.stateBytes(d.rule)
	words := make([]uint32, algorithm.Words(), 2+window.MaxBuckets+1)
	result.Allowed, result.Violated, result.Retry = true, -1, 0
	for i, w := range d.rule.Windows {
		unpackState(words, d.state[i*size:(i+1)*size], d.rule.Bytes())
		// The script's buckets are whole microseconds long.
		w.Period = time.Duration(p.width(w)*int64(p.spec.Buckets)) * time.Microsecond
		v := algorithm.Check(words, w, d.now*1000, max(d.low, d.granted))
		result.States[i] = window.State{Remaining: max(v.Room-max(d.granted, 0), 0), Reset: v.Reset}
		result.Receipt[i] = int64(words[0]) | int64(words[1])<<32
		if d.granted < 0 && !v.Fits {
			result.Refuse(i, v.Retry)
		}
	}
	if d.granted < 0 && result.Allowed {
		return fmt.Errorf("a refusal without a reason: %w", errReply)
	}
	return nil
}

// unpackState turns what a script packed into the words of window.Sliding.
func unpackState(words []uint32, state string, bytes int) {
	epoch := number(state[:epochBytes])
	words[0], words[1] = uint32(epoch), uint32(epoch>>32)
	counts := words[2:]
	slot := epoch % int64(len(counts))
	for at := epochBytes + totalBytes; at < len(state); at += bytes {
		counts[slot] = uint32(number(state[at : at+bytes]))
		if slot--; slot < 0 {
			slot = int64(len(counts)) - 1
		}
	}
}

// width is the length of a bucket in microseconds.
func (p packed) width(w window.Window) int64 {
	buckets := int64(p.spec.Buckets)
	return (w.Period.Microseconds() + buckets - 1) / buckets
}

// append5 and append6 append numbers as the script reads them; number reads one.
func append5(to []byte, n int64) []byte {
	return append(to, byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func append6(to []byte, n int64) []byte { return append5(append(to, byte(n>>40)), n) }

func number(text string) (n int64) {
	for _, b := range []byte(text) {
		n = n<<8 | int64(b)
	}
	return n
}
