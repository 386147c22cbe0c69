// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

// parseHealth parses the option that every policy of ours has. Syntax:
//
//	health [<uri>] {
//		uri      <uri>
//		method   <method>
//		headers {
//			<name> <values...>
//		}
//		port     <port>
//		interval <duration>
//		timeout  <duration>
//		jitter   <share>
//		fails    <checks>
//		passes   <checks>
//		status   <statuses...>
//		body     <regular expression>
//		initial  up|down|unknown
//		fail_closed
//	}
func parseHealth(d *caddyfile.Dispenser, health **Health) error {
	h := new(Health)
	*health = h
	if d.NextArg() {
		if err := directive.Value(d, "health", &h.URI, directive.Word); err != nil {
			return err
		}
		if err := directive.End(d); err != nil {
			return err
		}
	}
	options := h.options(d)
	if h.URI != "" {
		options["uri"] = func() error { return d.Err("uri: it is given after the word health already") }
	}
	if err := directive.Block(d, options); err != nil {
		return err
	}
	if _, err := h.parse(nil); err != nil { // the values may not go together
		return d.Errf("health: %v", err)
	}
	return nil
}

func (h *Health) options(d *caddyfile.Dispenser) directive.Options {
	duration := durationFrom(shortestCheck, longestCheck)
	inARow := directive.Integer(1, mostChecksInARow)
	return directive.Options{
		"uri":      func() error { return directive.Arg(d, &h.URI, directive.Word) },
		"method":   func() error { return directive.Arg(d, &h.Method, directive.Word) },
		"headers":  func() error { return h.parseHeaders(d) },
		"port":     func() error { return directive.Arg(d, &h.Port, directive.Integer(1, 65535)) },
		"interval": func() error { return directive.Arg(d, &h.Interval, duration) },
		"timeout":  func() error { return directive.Arg(d, &h.Timeout, duration) },
		"jitter": func() error {
			h.Jitter = new(float64)
			return directive.Arg(d, h.Jitter, parseShare(0, largestCheckJitter))
		},
		"fails":       func() error { return directive.Arg(d, &h.Fails, inARow) },
		"passes":      func() error { return directive.Arg(d, &h.Passes, inARow) },
		"status":      func() error { return directive.Args(d, &h.Status, parseFailureStatus) },
		"body":        func() error { return directive.Arg(d, &h.Body, directive.Word) },
		"initial":     func() error { return directive.Arg(d, &h.Initial, directive.OneOf("up", "down", "unknown")) },
		"fail_closed": func() error { return directive.Flag(d, &h.FailClosed) },
	}
}

// parseHeaders parses a block of header fields.
func (h *Health) parseHeaders(d *caddyfile.Dispenser) error {
	if err := directive.End(d); err != nil {
		return err
	}
	h.Headers = http.Header{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		var values []string
		if err := directive.Args(d, &values, func(s string) (string, error) { return s, nil }); err != nil {
			return err
		}
		for _, value := range values {
			h.Headers.Add(name, value)
		}
	}
	return nil
}

// parseShare accepts a part of the whole, from low to high: 10% or 0.1.
func parseShare(low, high float64) func(string) (float64, error) {
	return func(s string) (float64, error) {
		number, percent := strings.CutSuffix(s, "%")
		v, err := strconv.ParseFloat(number, 64)
		if percent {
			v /= 100
		}
		if err != nil || !(v >= low && v <= high) { // the negation catches NaN too
			return 0, fmt.Errorf("expected a share from %g%% to %g%% (or %g to %g), found %q", low*100, high*100, low, high, s)
		}
		return v, nil
	}
}
