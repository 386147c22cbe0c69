// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package logship is the log writer `output ship`: lines go into a spool on the local disk, and from there to sinks, which may
// be away for as long as the disk holds out. A request waits for neither.
//
//	logship.go              configuration and life of the writer
//	handle.go               where Caddy writes to, for the life of the process
//	core.go, options.go     one spool with its shippers, over reloads
//	shipper.go, deliver.go  from the spool to one sink
//	deadletter.go           lines that a sink refuses for good
//	sink.go, stamp.go       what a sink is, and what it delivers
//	verify.go               whether all has arrived
package logship

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/lease"
	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

func init() { caddy.RegisterModule(Writer{}) }

// Writer is a log writer that ships lines to sinks and loses none: it keeps them on the local disk until a sink has taken
// them, over outages of the sink, reloads and crashes of the process. It never waits for the network, and neither a sink nor a
// disk that is away keeps a config from being loaded.
//
// Writers of one config with the same path share one spool, and must have the same options.
type Writer struct {
	// Path is the spool's directory, which belongs to this process alone; it is made with mode 0700, its files with 0600.
	// Placeholders of the process ({env.*}) are expanded. Default: gatehouse/spool in Caddy's data directory.
	Path string `json:"path,omitempty"`
	// Node names this process in every line, so that lines of several proxies can be told apart: letters, digits, '.',
	// '_' and '-', at most 64. Placeholders of the process are expanded. Default: the host name.
	Node string `json:"node,omitempty"`
	// Sinks is where the lines go, at least one; each gets all of them, at its own pace.
	Sinks []*SinkConfig `json:"sinks,omitempty"`
	// SegmentSize is the size of the spool's files in bytes, 64 KiB to 64 MiB; a longer line is dropped. Where max_size is
	// less than four times as much, a segment is a quarter of that. Default (and zero): 16 MiB.
	SegmentSize int64 `json:"segment_size,omitempty"`
	// MaxSize bounds the spool in bytes; there may be one segment more. At least 256 KiB. Default (and zero): 1 GiB.
	MaxSize int64 `json:"max_size,omitempty"`
	// MaxAge drops lines that are older, a segment at a time. Default (and zero): lines are kept whatever their age.
	MaxAge caddy.Duration `json:"max_age,omitempty"`
	// OnFull is what happens to lines when the spool has its size or the disk is full: `drop_oldest` gives up the oldest
	// segment, `drop_newest` the line, `block` has the request wait for room as long as block_for says, and drops the line
	// then. Default: drop_oldest.
	OnFull string `json:"on_full,omitempty"`
	// BlockFor bounds the wait of `block`. Required with it, at most 1m.
	BlockFor caddy.Duration `json:"block_for,omitempty"`
	// Sync is how often lines are written through to the disk, against the loss of power; a crash of the process loses
	// none. At least 10ms. Default (and zero): 1s.
	Sync caddy.Duration `json:"sync,omitempty"`
	// Batch bounds what is sent at once.
	Batch *BatchConfig `json:"batch,omitempty"`
	// Retry says how a batch that failed is tried again: for as long as the spool keeps it.
	Retry *RetryConfig `json:"retry,omitempty"`
	// DeadLetter is where lines go that a sink refuses for good.
	DeadLetter *DeadLetterConfig `json:"dead_letter,omitempty"`
	// Flush is how long the end of the process, or of the log, waits for the last lines to be delivered. What is left is
	// delivered by the next process. Default (and zero): 5s; at most 1m.
	Flush caddy.Duration `json:"flush,omitempty"`

	key      string
	core     *core
	lease    lease.Lease
	attached *attachment
}

// SinkConfig is one sink of a writer.
type SinkConfig struct {
	// Name tells the sinks of a writer apart, in the spool, in metrics and in commands; a sink that is renamed begins
	// with the oldest line again. Letters, digits, '.', '_' and '-', at most 64. Default: the name of the sink's module.
	Name string `json:"name,omitempty"`
	// SinkRaw is a module of the namespace gatehouse.log_sinks. Required.
	SinkRaw json.RawMessage `json:"sink,omitempty" caddy:"namespace=gatehouse.log_sinks inline_key=sink"`

	sink Sink
}

// BatchConfig bounds a batch: it is sent as soon as one of the bounds is reached.
type BatchConfig struct {
	// Lines is the most lines. Default (and zero): 5000; at most 100,000.
	Lines int `json:"lines,omitempty"`
	// Bytes is about the most bytes, before compression. Default (and zero): 1 MiB; at most 16 MiB.
	Bytes int64 `json:"bytes,omitempty"`
	// Age is the longest that a line waits for others. Default (and zero): 1s.
	Age caddy.Duration `json:"age,omitempty"`
}

// RetryConfig says how a batch is tried again. The wait is random, up to a bound that doubles with each failure.
type RetryConfig struct {
	// Min is the bound after the first failure. Default (and zero): 100ms.
	Min caddy.Duration `json:"min,omitempty"`
	// Max is the highest bound. Default (and zero): 30s. A sink may ask for up to five minutes.
	Max caddy.Duration `json:"max,omitempty"`
	// Timeout bounds one try. Default (and zero): 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

// DeadLetterConfig is where refused lines are kept.
type DeadLetterConfig struct {
	// Path is a directory, in which each sink has one of its own. Placeholders of the process are expanded. Default: `dead`
	// in the spool's.
	Path string `json:"path,omitempty"`
	// MaxSize bounds the bytes of one sink's; further refused lines are dropped, and counted. Default (and zero): 64 MiB.
	MaxSize int64 `json:"max_size,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Writer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.ship", New: func() caddy.Module { return new(Writer) }}
}

// Provision loads the sinks and attaches to the spool. It fails for a faulty configuration only: a spool that cannot be opened
// is tried again in the background.
func (w *Writer) Provision(ctx caddy.Context) error {
	fingerprint, err := json.Marshal(w) // before loading clears the raw sinks
	if err != nil {
		return fmt.Errorf("output ship: %w", err)
	}
	settings, err := w.settle()
	if err != nil {
		return fmt.Errorf("output ship: %w", err)
	}
	w.key = settings.dir
	for _, sink := range w.Sinks {
		if err := sink.load(ctx); err != nil {
			return fmt.Errorf("output ship: %w", err)
		}
	}
	if err := meter.Register(ctx.GetMetricsRegistry(), metrics().all()...); err != nil {
		return err
	}
	w.core, w.lease, err = lease.Take(cores, w.key, func() (*core, error) { return newCore(settings.dir), nil })
	if err != nil {
		return fmt.Errorf("output ship: sharing the spool %s: %w", w.key, err)
	}
	w.attached = newAttachment(settings, w.Sinks, string(fingerprint), ctx.GetMetricsRegistry())
	if err := w.core.attach(w.attached); err != nil {
		w.attached = nil
		return fmt.Errorf("output ship: %w", err)
	}
	return nil
}

// Cleanup implements caddy.CleanerUpper.
func (w *Writer) Cleanup() error {
	if w.attached != nil {
		w.core.detach(w.attached)
		w.attached = nil
	}
	return w.lease.Release()
}

// String implements caddy.WriterOpener.
func (w *Writer) String() string { return "ship:" + w.key }

// WriterKey implements caddy.WriterOpener. Caddy opens one writer a key for the life of the process, so it does not say with
// what options: they are those of the newest config.
func (w *Writer) WriterKey() string { return "ship:" + w.key }

// OpenWriter implements caddy.WriterOpener. It never fails.
func (w *Writer) OpenWriter() (io.WriteCloser, error) { return handleFor(w.key), nil }

// load loads the sink's module. One that is not in this build is told apart here: Caddy's error names no package.
func (c *SinkConfig) load(ctx caddy.Context) error {
	module, err := c.module()
	if err != nil {
		return err
	}
	if err := compiled(module); err != nil {
		return err
	}
	loaded, err := ctx.LoadModule(c, "SinkRaw")
	if err != nil {
		return fmt.Errorf("loading the sink %q: %w", c.Name, err)
	}
	sink, ok := loaded.(Sink)
	if !ok {
		return fmt.Errorf("the module %s.%s is a %T, which does not implement logship.Sink", Namespace, module, loaded)
	}
	c.sink = sink
	return nil
}

// module is the name of the sink's module.
func (c *SinkConfig) module() (string, error) {
	var inline struct {
		// Sink is the inline key.
		Sink string `json:"sink"`
	}
	if len(c.SinkRaw) == 0 {
		return "", errors.New("sinks: an entry has no sink")
	}
	if err := json.Unmarshal(c.SinkRaw, &inline); err != nil || inline.Sink == "" {
		return "", fmt.Errorf("sinks: expected an object with the name of a module as sink, found %.100q", c.SinkRaw)
	}
	return inline.Sink, nil
}

// compiled is an error that names the missing package if a sink is not in this build.
func compiled(module string) error {
	if _, err := caddy.GetModule(Namespace + "." + module); err == nil {
		return nil
	}
	const ours = "github.com/gatehouse-proxy/gatehouse/plugins/"
	missing := "the package that registers " + Namespace + "." + module
	switch module {
	case "redis":
		missing = ours + "redis"
	case "http":
		missing = ours + "sinks/httpsink"
	case "file", "loki", "elasticsearch", "kafka":
		missing = ours + "sinks/" + module
	}
	return fmt.Errorf("sink: %q is not in this build, which has: %s; build with %s to have it",
		module, directive.Compiled(Namespace), missing)
}

// defaultPath is where the spool is if no path is given.
func defaultPath() string { return filepath.Join(caddy.AppDataDir(), "gatehouse", "spool") }

// Interface guards
var (
	_ caddy.Provisioner  = (*Writer)(nil)
	_ caddy.CleanerUpper = (*Writer)(nil)
	_ caddy.WriterOpener = (*Writer)(nil)
)
