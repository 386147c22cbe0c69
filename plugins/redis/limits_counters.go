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
	args := c.arguments(ask, "take", low, high, nil)
	cmd, err := c.hub.client.Run(ctx, c.script, c.keys(ask), args...)
	if err != nil {
		return 0, fmt.Errorf("counting in redis: %w", err)
	}
	var granted int64
	if c.spec.Algorithm == reqlimit.Sliding {
		granted, err = c.readState(ask.Rule, low, cmd, result)
	} else {
		granted, err = read(ask.Rule, low, cmd, result)
	}
	if err != nil {
		return 0, fmt.Errorf("counting in redis: an unexpected answer, %v: %w", cmd.Val(), err)
	}
	return granted, nil
}

// stateHeader is how many bytes a window's state has before its counts: the newest bucket's number, and their sum.
const stateHeader = 6 + 5

// errReply is an answer that no script of ours gives.
var errReply = errors.New("it is not the script's")

// readState works a result out from the state that a script answers with.
func (c *limitCounters) readState(rule *window.Rule, low int64, cmd *goredis.Cmd, result *window.Result) (int64, error) {
	reply, err := cmd.Slice()
	if err != nil || len(reply) != 3 {
		return 0, errReply
	}
	granted, ok1 := reply[0].(int64)
	now, ok2 := reply[1].(int64)
	state, ok3 := reply[2].(string)
	slots, bytes := c.spec.Buckets+1, rule.Bytes()
	size := stateHeader + bytes*slots
	if !ok1 || !ok2 || !ok3 || len(state) != size*len(rule.Windows) {
		return 0, errReply
	}
	algorithm := window.Sliding{Buckets: c.spec.Buckets}
	words := make([]uint32, 0, 2+window.MaxBuckets+1)
	result.Allowed, result.Violated, result.Retry = true, -1, 0
	for i, w := range rule.Windows {
		words = unpackState(words[:0], state[i*size:(i+1)*size], bytes)
		// The script's buckets are whole microseconds long.
		w.Period = time.Duration(c.unit(w).(int64)*int64(c.spec.Buckets)) * time.Microsecond
		v := algorithm.Check(words, w, now*1000, max(low, granted))
		result.States[i] = window.State{Remaining: max(v.Room-max(granted, 0), 0), Reset: v.Reset}
		result.Receipt[i] = int64(words[0]) | int64(words[1])<<32
		if granted < 0 && !v.Fits {
			result.Refuse(i, v.Retry)
		}
	}
	if granted < 0 && result.Allowed {
		return 0, errReply
	}
	return granted, nil
}

// unpackState turns what a script packed into the words of window.Sliding.
func unpackState(words []uint32, state string, bytes int) []uint32 {
	var epoch uint64
	for _, b := range []byte(state[:6]) {
		epoch = epoch<<8 | uint64(b)
	}
	words = append(words, uint32(epoch), uint32(epoch>>32))
	for at := stateHeader; at < len(state); at += bytes {
		var n uint32
		for _, b := range []byte(state[at : at+bytes]) {
			n = n<<8 | uint32(b)
		}
		words = append(words, n)
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
	_, err := c.hub.client.Run(ctx, c.script, c.keys(ask), c.arguments(ask, "give", ask.Cost, 0, receipt)...)
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

// arguments are the script's.
func (c *limitCounters) arguments(ask *reqlimit.Ask, op string, low, high int64, receipt *window.Receipt) []any {
	always := "0"
	if c.spec.Always {
		always = "1"
	}
	args := make([]any, 0, 7+3*len(ask.Rule.Windows))
	args = append(args, op, low, high, always)
	if c.spec.Algorithm == reqlimit.Sliding {
		args = append(args, ask.Rule.Bytes(), c.spec.Buckets+1)
	}
	for i, w := range ask.Rule.Windows {
		var at int64
		if receipt != nil {
			at = receipt[i]
		}
		args = append(args, w.Capacity(), c.unit(w), at)
	}
	return args
}

// unit is the time that the script is given with a limit, in microseconds.
func (c *limitCounters) unit(w window.Window) any {
	period := w.Period.Microseconds()
	switch c.spec.Algorithm {
	case reqlimit.Sliding:
		buckets := int64(c.spec.Buckets)
		return (period + buckets - 1) / buckets
	case reqlimit.GCRA:
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
