// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/spool"
)

// Defaults and limits of Writer's options.
const (
	defaultSegment   = 16 << 20
	defaultMaxSize   = 1 << 30
	defaultSync      = time.Second
	minSync          = 10 * time.Millisecond
	defaultLines     = 5000
	maxLines         = 100_000
	defaultBytes     = 1 << 20
	maxBytes         = 16 << 20
	defaultAge       = time.Second
	defaultRetryMin  = 100 * time.Millisecond
	defaultRetryMax  = 30 * time.Second
	defaultTimeout   = 30 * time.Second
	defaultFlush     = 5 * time.Second
	maxWait          = time.Minute
	defaultDeadBytes = 64 << 20
	maxName          = 64
	maxSinks         = 16
)

// Words of on_full.
const (
	dropOldest = "drop_oldest"
	dropNewest = "drop_newest"
	block      = "block"
)

// settings are a writer's options with their defaults.
type settings struct {
	dir      string
	node     string
	spool    spool.Options
	lines    int
	bytes    int64
	age      time.Duration
	retryMin time.Duration
	retryMax time.Duration
	timeout  time.Duration
	dead     string
	deadSize int64
	flush    time.Duration
}

// settle checks the options and fills in the defaults.
func (w *Writer) settle() (settings, error) {
	var s settings
	err := errors.Join(w.settleSpool(&s), w.settleBatch(&s), w.settleRetry(&s), w.settleNames(&s), w.settleDead(&s))
	return s, err
}

func (w *Writer) settleSpool(s *settings) error {
	dir, err := expand("path", cmp.Or(w.Path, defaultPath()))
	if err != nil {
		return err
	}
	if s.dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("path: %w", err)
	}
	full, ok := map[string]spool.Full{
		"": spool.DropOldest, dropOldest: spool.DropOldest, dropNewest: spool.DropNewest, block: spool.Block,
	}[w.OnFull]
	s.spool = spool.Options{
		Segment: cmp.Or(w.SegmentSize, defaultSegment), MaxSize: cmp.Or(w.MaxSize, defaultMaxSize),
		MaxAge: time.Duration(w.MaxAge), Full: full, BlockFor: time.Duration(w.BlockFor),
		Sync: cmp.Or(time.Duration(w.Sync), defaultSync),
	}
	s.flush = cmp.Or(time.Duration(w.Flush), defaultFlush)
	switch {
	case !ok:
		return fmt.Errorf("on_full: expected one of drop_oldest, drop_newest, block, found %q", w.OnFull)
	case (full == spool.Block) != (w.BlockFor > 0):
		return errors.New("on_full: block needs a duration above zero in block_for, and nothing else has one")
	case s.spool.BlockFor > maxWait, s.flush > maxWait, s.flush < 0:
		return errors.New("block_for and flush: expected at most 1m")
	case s.spool.Segment < spool.MinSegment || s.spool.Segment > spool.MaxSegment:
		return fmt.Errorf("segment_size: expected 64 KiB to 64 MiB, found %d bytes", w.SegmentSize)
	case s.spool.MaxSize < spool.MinSegments*spool.MinSegment:
		return fmt.Errorf("max_size: expected at least 256 KiB, found %d bytes", w.MaxSize)
	case s.spool.MaxAge < 0 || s.spool.Sync < minSync:
		return errors.New("max_age: expected zero or more; sync: expected at least 10ms")
	}
	return nil
}

func (w *Writer) settleBatch(s *settings) error {
	b := BatchConfig{}
	if w.Batch != nil {
		b = *w.Batch
	}
	s.lines, s.bytes = cmp.Or(b.Lines, defaultLines), cmp.Or(b.Bytes, defaultBytes)
	s.age = cmp.Or(time.Duration(b.Age), defaultAge)
	if s.lines < 1 || s.lines > maxLines || s.bytes < 1 || s.bytes > maxBytes || s.age < 0 {
		return errors.New("batch: expected 1 to 100000 lines, at most 16 MiB, and an age of zero or more")
	}
	return nil
}

func (w *Writer) settleRetry(s *settings) error {
	r := RetryConfig{}
	if w.Retry != nil {
		r = *w.Retry
	}
	s.retryMin = cmp.Or(time.Duration(r.Min), defaultRetryMin)
	s.retryMax = cmp.Or(time.Duration(r.Max), max(defaultRetryMax, s.retryMin))
	s.timeout = cmp.Or(time.Duration(r.Timeout), defaultTimeout)
	if s.retryMin < 0 || s.retryMax < s.retryMin || s.timeout < 0 {
		return errors.New("retry: expected durations of zero or more, the second not below the first")
	}
	return nil
}

// settleNames checks the node and the sinks' names, and gives those without one their module's.
func (w *Writer) settleNames(s *settings) error {
	node, err := expand("node", w.Node)
	if err != nil {
		return err
	}
	if s.node = node; node == "" {
		s.node = hostName()
	} else if _, err := name(node); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if len(w.Sinks) == 0 || len(w.Sinks) > maxSinks {
		return fmt.Errorf("sinks: expected 1 to %d, found %d", maxSinks, len(w.Sinks))
	}
	seen := map[string]bool{}
	for _, sink := range w.Sinks {
		if sink == nil {
			return errors.New("sinks: an entry is null")
		}
		module, err := sink.module()
		if err != nil {
			return err
		}
		sink.Name = cmp.Or(sink.Name, module)
		if _, err := name(sink.Name); err != nil {
			return fmt.Errorf("sinks: name: %w", err)
		}
		if seen[sink.Name] {
			return fmt.Errorf("two sinks are named %q; in a Caddyfile, `sink %s:other ...` names the second", sink.Name, module)
		}
		seen[sink.Name] = true
	}
	return nil
}

func (w *Writer) settleDead(s *settings) error {
	d := DeadLetterConfig{}
	if w.DeadLetter != nil {
		d = *w.DeadLetter
	}
	dir, err := expand("dead_letter: path", cmp.Or(d.Path, filepath.Join(s.dir, "dead")))
	if err != nil {
		return err
	}
	s.dead, s.deadSize = dir, cmp.Or(d.MaxSize, defaultDeadBytes)
	if s.deadSize < 0 {
		return errors.New("dead_letter: max_size: expected zero or more bytes")
	}
	return nil
}

// expand replaces the placeholders of the process.
func expand(option, value string) (string, error) {
	expanded, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		return "", fmt.Errorf("%s: %w", option, err)
	}
	return expanded, nil
}

const nameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// name accepts what may be a part of a file's name, of an ID and of a metric's label.
func name(s string) (string, error) {
	if s == "" || len(s) > maxName || strings.Trim(s, nameLetters) != "" || strings.Trim(s, ".") == "" {
		return "", fmt.Errorf("expected letters, digits, '.', '_' and '-', at most %d, found %q", maxName, s)
	}
	return s, nil
}

// hostName is the host's name with what may not be in a name replaced.
func hostName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	host = strings.Map(func(r rune) rune {
		if strings.ContainsRune(nameLetters, r) {
			return r
		}
		return '-'
	}, host)
	return cmp.Or(strings.Trim(host[:min(len(host), maxName)], "."), "unknown")
}

// onFull accepts the words of the option.
func onFull(s string) (string, error) { return directive.OneOf(dropOldest, dropNewest, block)(s) }
