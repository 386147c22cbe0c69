// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax, in a log block:
//
//	output ship [<path>] {
//		sink <module>[:<name>] [<args...>] [{ ... }]
//		node <name>
//		max_size <size>
//		max_age <duration>
//		segment_size <size>
//		on_full drop_oldest|drop_newest
//		on_full block <duration>
//		sync <duration>
//		batch <lines> [<size> [<age>]]
//		retry <min> <max>
//		timeout <duration>
//		dead_letter <path> [<max size>]
//		flush <duration>
//	}
//
// `sink` is required, and may be repeated.
func (w *Writer) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		w.Path = d.Val()
	}
	if err := directive.End(d); err != nil {
		return err
	}
	err := directive.Block(d, directive.Options{
		"sink":         func() error { return w.parseSink(d) },
		"node":         func() error { return directive.Arg(d, &w.Node, nameOrPlaceholder) },
		"max_size":     func() error { return directive.Arg(d, &w.MaxSize, directive.Size) },
		"max_age":      func() error { return directive.Arg(d, &w.MaxAge, directive.PositiveDuration) },
		"segment_size": func() error { return directive.Arg(d, &w.SegmentSize, directive.Size) },
		"on_full":      func() error { return w.parseOnFull(d) },
		"sync":         func() error { return directive.Arg(d, &w.Sync, directive.PositiveDuration) },
		"batch":        func() error { return w.parseBatch(d) },
		"retry":        func() error { return w.parseRetry(d) },
		"timeout":      func() error { return directive.Arg(d, &w.retry().Timeout, directive.PositiveDuration) },
		"dead_letter":  func() error { return w.parseDeadLetter(d) },
		"flush":        func() error { return directive.Arg(d, &w.Flush, directive.PositiveDuration) },
	}, "sink")
	if err != nil {
		return err
	}
	// A copy, as settling gives names to sinks: what adapting writes is what was written.
	if err := w.check(); err != nil {
		return d.Errf("output ship: %v", err)
	}
	return nil
}

// check finds what is wrong whatever the values of placeholders will be, so that the error has a file and a line.
func (w *Writer) check() error {
	trial := *w
	trial.Path, trial.Node, trial.DeadLetter = "", "", nil
	trial.Sinks = make([]*SinkConfig, len(w.Sinks))
	for i, sink := range w.Sinks {
		trial.Sinks[i] = &SinkConfig{Name: sink.Name, SinkRaw: sink.SinkRaw}
	}
	_, err := trial.settle()
	return err
}

func nameOrPlaceholder(s string) (string, error) {
	if strings.Contains(s, "{") {
		return s, nil
	}
	return name(s)
}

// parseSink parses `sink <module>[:<name>]` and what the module makes of the rest.
func (w *Writer) parseSink(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Errf("sink: expected a name; this build has: %s", directive.Compiled(Namespace))
	}
	module, alias, named := strings.Cut(d.Val(), ":")
	if named {
		if _, err := name(alias); err != nil {
			return d.Errf("sink %s: %v", module, err)
		}
	}
	if err := compiled(module); err != nil {
		return d.Err(err.Error())
	}
	guest, err := caddyfile.UnmarshalModule(d, Namespace+"."+module)
	if err != nil {
		return err
	}
	var warnings []caddyconfig.Warning
	raw := caddyconfig.JSONModuleObject(guest, "sink", module, &warnings)
	if len(warnings) > 0 {
		return d.Errf("sink %s: %s", module, warnings[0].Message)
	}
	w.Sinks = append(w.Sinks, &SinkConfig{Name: alias, SinkRaw: json.RawMessage(raw)})
	return nil
}

func (w *Writer) parseOnFull(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("on_full: expected a value")
	}
	if err := directive.Value(d, "on_full", &w.OnFull, onFull); err != nil {
		return err
	}
	if w.OnFull == block {
		return directive.Arg(d, &w.BlockFor, directive.PositiveDuration)
	}
	return directive.End(d)
}

func (w *Writer) parseBatch(d *caddyfile.Dispenser) error {
	w.Batch = new(BatchConfig)
	if !d.NextArg() {
		return d.Err("batch: expected a number of lines")
	}
	if err := directive.Value(d, "batch", &w.Batch.Lines, directive.Integer(1, maxLines)); err != nil {
		return err
	}
	if !d.NextArg() {
		return nil
	}
	if err := directive.Value(d, "batch", &w.Batch.Bytes, directive.Size); err != nil {
		return err
	}
	if d.CountRemainingArgs() == 0 {
		return nil
	}
	return directive.Arg(d, &w.Batch.Age, directive.PositiveDuration)
}

func (w *Writer) retry() *RetryConfig {
	if w.Retry == nil {
		w.Retry = new(RetryConfig)
	}
	return w.Retry
}

func (w *Writer) parseRetry(d *caddyfile.Dispenser) error {
	if d.CountRemainingArgs() != 2 {
		return d.Err("retry: expected the first and the longest wait, such as 100ms 30s")
	}
	d.NextArg()
	if err := directive.Value(d, "retry", &w.retry().Min, directive.PositiveDuration); err != nil {
		return err
	}
	return directive.Arg(d, &w.retry().Max, directive.PositiveDuration)
}

func (w *Writer) parseDeadLetter(d *caddyfile.Dispenser) error {
	w.DeadLetter = new(DeadLetterConfig)
	if !d.NextArg() {
		return d.Err("dead_letter: expected a path")
	}
	w.DeadLetter.Path = d.Val()
	if d.CountRemainingArgs() == 0 {
		return nil
	}
	return directive.Arg(d, &w.DeadLetter.MaxSize, directive.Size)
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Writer)(nil)
	_ caddy.Module          = (*Writer)(nil)
)
