// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

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
	reply, err := cmd.Int64Slice()
	if err != nil || len(reply) != 1+4*len(ask.Rule.Windows) {
		return 0, fmt.Errorf("counting in redis: an unexpected answer, %v (%w)", cmd.Val(), err)
	}
	return read(ask.Rule, low, reply, result), nil
}

// read turns the script's answer into a result.
func read(rule *window.Rule, low int64, reply []int64, result *window.Result) int64 {
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
	return granted
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
		n, bytes := c.spec.Buckets+1, ask.Rule.Bytes()
		args = append(args, packing(n, bytes), n*bytes+6, n)
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

// packing describes to the script how a window's state is packed.
func packing(counts, bytes int) string {
	return ">" + strings.Repeat("I"+strconv.Itoa(bytes), counts) + "I6"
}

// unit is the time that the script is given with a limit, in microseconds.
func (c *limitCounters) unit(w window.Window) any {
	period := w.Period.Microseconds()
	switch c.spec.Algorithm {
	case reqlimit.Sliding:
		return int64(math.Ceil(float64(period) / float64(c.spec.Buckets)))
	case reqlimit.GCRA:
		return strconv.FormatFloat(float64(period)/float64(w.Limit), 'f', -1, 64)
	}
	return period
}
