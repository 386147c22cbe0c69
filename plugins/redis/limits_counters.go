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
	"strconv"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

var (
	//go:embed limits_sliding.lua
	slidingSource string
	//go:embed limits_head.lua
	headSource string
	//go:embed limits_smooth.lua
	smoothSource string
	//go:embed limits_gcra.lua
	gcraSource string
	//go:embed limits_strings.lua
	stringsSource string
	//go:embed limits_exact.lua
	exactSource string
	//go:embed limits_several.lua
	severalSource string

	slidingScript = NewScript(slidingSource)
	smoothScript  = NewScript(headSource + smoothSource + stringsSource + severalSource)
	gcraScript    = NewScript(headSource + gcraSource + stringsSource + severalSource)
	exactScript   = NewScript(headSource + exactSource + severalSource)
)

// limitCounters are a policy's counts in Redis, with nothing kept here.
type limitCounters struct {
	hub     *hub
	spec    reqlimit.Spec
	script  *Script
	dialect dialect
	prefix  string // of the keys, up to the brace that opens their hash tag
	batch   batch
}

// dialect is what scripts are told, and answer, differently.
type dialect interface {
	// unit is the time that is told with a window's limit, in microseconds.
	unit(w window.Window) float64
	// size is how many bytes of an answer are about a decision, beside what was granted.
	size(d *decision) int
	// read works out the result of a decision. Those that give back have none.
	read(d *decision, result *window.Result) error
}

// errReply is an answer that no script of ours gives.
var errReply = errors.New("it is not the script's answer")

func newLimitCounters(h *hub, spec reqlimit.Spec) (*limitCounters, error) {
	c := &limitCounters{hub: h, spec: spec, dialect: plain{spec}, prefix: h.client.Key("limit", "{")}
	switch spec.Algorithm {
	case reqlimit.Sliding:
		c.script, c.dialect = slidingScript, raw{spec}
	case reqlimit.Smooth:
		c.script = smoothScript
	case reqlimit.GCRA:
		c.script = gcraScript
	case reqlimit.Exact:
		c.script = exactScript
	default:
		return nil, fmt.Errorf("store redis: the algorithm %q is not known here", spec.Algorithm)
	}
	return c, nil
}

// Take implements reqlimit.Counters.
func (c *limitCounters) Take(ctx context.Context, ask *reqlimit.Ask, result *window.Result) error {
	_, err := c.grant(ctx, ask, ask.Cost, ask.Cost, result)
	return err
}

// grant asks for something from low to high, and returns what it got.
func (c *limitCounters) grant(ctx context.Context, ask *reqlimit.Ask, low, high int64, result *window.Result) (int64, error) {
	c.hub.begin()
	d := &decision{keys: c.keys(ask), rule: ask.Rule, low: low, high: high}
	err := c.decide(ctx, d)
	if err == nil {
		err = c.dialect.read(d, result)
	}
	if err != nil {
		return 0, fmt.Errorf("counting in redis: %w", err)
	}
	return d.granted, nil
}

// Give implements reqlimit.Counters.
func (c *limitCounters) Give(ctx context.Context, ask *reqlimit.Ask, receipt *window.Receipt) error {
	err := c.decide(ctx, &decision{keys: c.keys(ask), rule: ask.Rule, give: true, low: ask.Cost, receipt: *receipt})
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
