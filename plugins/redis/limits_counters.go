// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

var (
	//go:embed limits_sliding.lua
	slidingSource string
	//go:embed limits_smooth.lua
	smoothSource string
	//go:embed limits_gcra.lua
	gcraSource string
	//go:embed limits_exact.lua
	exactSource string

	slidingScript = NewScript(slidingSource)
	smoothScript  = NewScript(smoothSource)
	gcraScript    = NewScript(gcraSource)
	exactScript   = NewScript(exactSource)
)

// limitCounters are a policy's counts in Redis, with nothing kept here.
type limitCounters struct {
	hub    *hub
	spec   reqlimit.Spec
	script *Script
	prefix string // of the keys, up to the brace that opens their hash tag
	batch  batch  // of a sliding window's decisions
}

func newLimitCounters(h *hub, spec reqlimit.Spec) (*limitCounters, error) {
	scripts := map[string]*Script{
		reqlimit.Sliding: slidingScript, reqlimit.Smooth: smoothScript, reqlimit.GCRA: gcraScript, reqlimit.Exact: exactScript,
	}
	script, ok := scripts[spec.Algorithm]
	if !ok {
		return nil, fmt.Errorf("store redis: the algorithm %q is not known here", spec.Algorithm)
	}
	return &limitCounters{hub: h, spec: spec, script: script, prefix: h.client.Key("limit", "{")}, nil
}

// Take implements reqlimit.Counters.
func (c *limitCounters) Take(ctx context.Context, ask *reqlimit.Ask, result *window.Result) error {
	_, err := c.grant(ctx, ask, ask.Cost, ask.Cost, result)
	return err
}

// grant asks for something from low to high, and returns what it got.
func (c *limitCounters) grant(ctx context.Context, ask *reqlimit.Ask, low, high int64, result *window.Result) (int64, error) {
	c.hub.begin()
	if c.spec.Algorithm == reqlimit.Sliding {
		d := &decision{key: c.keys(ask)[0], rule: ask.Rule, low: low, high: high}
		if err := c.decide(ctx, d); err != nil {
			return 0, fmt.Errorf("counting in redis: %w", err)
		}
		return c.readState(d, result)
	}
	args := c.arguments(ask, "take", low, high, nil)
	cmd, err := c.hub.client.Run(ctx, c.script, c.keys(ask), args...)
	if err != nil {
		return 0, fmt.Errorf("counting in redis: %w", err)
	}
	granted, err := read(ask.Rule, low, cmd, result)
	if err != nil {
		return 0, fmt.Errorf("counting in redis: an unexpected answer, %v: %w", cmd.Val(), err)
	}
	return granted, nil
}

const (
	// grantBytes is how many bytes of an answer say what was granted.
	grantBytes = 5
	// epochBytes and totalBytes are how many bytes a window's state has before its counts: the newest bucket's number, and
	// their sum.
	epochBytes, totalBytes = 6, 5
)

// stateBytes is how many bytes a window's state has.
func (c *limitCounters) stateBytes(rule *window.Rule) int {
	return epochBytes + totalBytes + rule.Bytes()*(c.spec.Buckets+1)
}

// errReply is an answer that no script of ours gives.
var errReply = errors.New("it is not the script's")

// readState works a result out from the state that a script answers with.
func (c *limitCounters) readState(d *decision, result *window.Result) (int64, error) {
	granted, state, size := number(d.reply[:grantBytes])-1, d.reply[grantBytes:], c.stateBytes(d.rule)
	algorithm := window.Sliding{Buckets: c.spec.Buckets}
	words := make([]uint32, 0, 2+window.MaxBuckets+1)
	result.Allowed, result.Violated, result.Retry = true, -1, 0
	for i, w := range d.rule.Windows {
		words = unpackState(words[:algorithm.Words()], state[i*size:(i+1)*size], d.rule.Bytes())
		// The script's buckets are whole microseconds long.
		w.Period = time.Duration(c.width(w)*int64(c.spec.Buckets)) * time.Microsecond
		v := algorithm.Check(words, w, d.now*1000, max(d.low, granted))
		result.States[i] = window.State{Remaining: max(v.Room-max(granted, 0), 0), Reset: v.Reset}
		result.Receipt[i] = int64(words[0]) | int64(words[1])<<32
		if granted < 0 && !v.Fits {
			result.Refuse(i, v.Retry)
		}
	}
	if granted < 0 && result.Allowed {
		return 0, fmt.Errorf("counting in redis: a refusal without a reason: %w", errReply)
	}
	return granted, nil
}

// unpackState turns what a script packed into the words of window.Sliding.
func unpackState(words []uint32, state string, bytes int) []uint32 {
	epoch := number(state[:epochBytes])
	words[0], words[1] = uint32(epoch), uint32(epoch>>32)
	counts := words[2:]
	slots := int64(len(counts))
	slot := epoch % slots
	for at := epochBytes + totalBytes; at < len(state); at += bytes {
		counts[slot] = uint32(number(state[at : at+bytes]))
		if slot--; slot < 0 {
			slot = slots - 1
		}
	}
	return words
}

// read turns what the other scripts answer into a result.
func read(rule *window.Rule, low int64, cmd *goredis.Cmd, result *window.Result) (int64, error) {
	reply, err := cmd.Int64Slice()
	if err != nil || len(reply) != 1+4*len(rule.Windows) {
		return 0, errReply
	}
	granted := reply[0]
	result.Allowed, result.Violated, result.Retry = true, -1, 0
	for i, w := range rule.Windows {
		room, reset, retry, receipt := reply[1+4*i], reply[2+4*i], reply[3+4*i], reply[4+4*i]
		result.States[i] = window.State{Remaining: max(room-max(granted, 0), 0), Reset: time.Duration(reset) * time.Microsecond}
		result.Receipt[i] = receipt
		if granted >= 0 || room >= low {
			continue
		}
		wait := time.Duration(retry) * time.Microsecond
		if low > w.Capacity() {
			wait = window.Never
		}
		result.Refuse(i, wait)
	}
	return granted, nil
}

// Give implements reqlimit.Counters.
func (c *limitCounters) Give(ctx context.Context, ask *reqlimit.Ask, receipt *window.Receipt) error {
	var err error
	if c.spec.Algorithm == reqlimit.Sliding {
		err = c.decide(ctx, &decision{key: c.keys(ask)[0], rule: ask.Rule, give: true, low: ask.Cost, receipt: *receipt})
	} else {
		_, err = c.hub.client.Run(ctx, c.script, c.keys(ask), c.arguments(ask, "give", ask.Cost, 0, receipt)...)
	}
	if err != nil {
		return fmt.Errorf("giving back in redis: %w", err)
	}
	return nil
}

// Reset implements reqlimit.Counters.
func (c *limitCounters) Reset(ctx context.Context, ask *reqlimit.Ask) error {
	for _, key := range c.keys(ask) {
		if _, err := c.hub.client.Do(ctx, "DEL", key); err != nil {
			return fmt.Errorf("forgetting counts in redis: %w", err)
		}
	}
	return nil
}

// Proxies implements reqlimit.Shared.
func (c *limitCounters) Proxies() int { return int(c.hub.proxies.Load()) }

// keys are those that a decision touches. They share a hash tag, which is a sum: clients choose what is in keys, and how long
// it is.
func (c *limitCounters) keys(ask *reqlimit.Ask) []string {
	tag := c.tag(ask)
	if c.spec.Algorithm != reqlimit.Exact {
		return []string{c.prefix + tag + "}"}
	}
	keys := make([]string, len(ask.Rule.Windows))
	for i := range keys {
		keys[i] = c.prefix + tag + "}" + strconv.Itoa(i)
	}
	return keys
}

// tag is a sum of all that makes a count another one.
func (c *limitCounters) tag(ask *reqlimit.Ask) string {
	buf := make([]byte, 0, 256)
	buf = append(buf, c.spec.Policy...)
	buf = append(buf, 0)
	buf = append(buf, c.spec.Algorithm...)
	buf = append(buf, 0, byte(c.spec.Buckets))
	buf = binary.LittleEndian.AppendUint64(buf, ask.Rule.Shape)
	buf = append(buf, ask.Key...)
	sum := sha256.Sum256(buf)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// arguments are those of the scripts that make one decision a call.
func (c *limitCounters) arguments(ask *reqlimit.Ask, op string, low, high int64, receipt *window.Receipt) []any {
	always := "0"
	if c.spec.Always {
		always = "1"
	}
	args := make([]any, 0, 7+3*len(ask.Rule.Windows))
	args = append(args, op, low, high, always)
	for i, w := range ask.Rule.Windows {
		var at int64
		if receipt != nil {
			at = receipt[i]
		}
		args = append(args, w.Capacity(), c.unit(w), at)
	}
	return args
}

// width is the length of a bucket in microseconds.
func (c *limitCounters) width(w window.Window) int64 {
	buckets := int64(c.spec.Buckets)
	return (w.Period.Microseconds() + buckets - 1) / buckets
}

// unit is the time that the script is given with a limit, in microseconds.
func (c *limitCounters) unit(w window.Window) any {
	period := w.Period.Microseconds()
	if c.spec.Algorithm == reqlimit.GCRA {
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
