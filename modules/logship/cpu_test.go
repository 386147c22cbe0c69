// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package logship_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/logging"

	"github.com/gatehouse-proxy/gatehouse/modules/logship"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/logshiptest"
)

func init() { caddy.RegisterModule(blackHole{}) }

// blackHole is a sink that takes everything.
type blackHole struct{}

func (blackHole) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: logship.Namespace + ".black_hole", New: func() caddy.Module { return new(blackHole) }}
}

func (blackHole) Send(context.Context, *logship.Batch) error { return nil }

// BenchmarkCPU tells the processor time, of all threads, that a line costs at 20,000 lines/s: written by Caddy's `output file`
// and by `output ship` with one sink, delivered. The writers take turns. What the pace itself costs is measured with
// `output discard`, and taken off. The ratio is to `file` at its defaults; before that rolls, and so without the gzip that each
// roll of 100 MB costs it later: the second row of `file` rolls every 10 MB.
func BenchmarkCPU(b *testing.B) {
	const rounds = 3
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	b.Cleanup(server.Close)
	dir := b.TempDir()
	ship := func(name, sink string) caddy.WriterOpener {
		w := &logship.Writer{Path: filepath.Join(dir, name), Sinks: []*logship.SinkConfig{{SinkRaw: json.RawMessage(sink)}}}
		ctx, cancel := caddy.NewContext(caddy.Context{Context: b.Context()})
		b.Cleanup(cancel)
		if err := w.Provision(ctx); err != nil {
			b.Fatal(err)
		}
		return w
	}
	subjects := []*costly{
		{name: "pace", opener: &caddy.DiscardWriter{}},
		{name: "file", opener: &logging.FileWriter{Filename: filepath.Join(dir, "access.log")}},
		{name: "file-rolling", opener: &logging.FileWriter{Filename: filepath.Join(dir, "rolling.log"), RollSizeMB: 10}},
		{name: "ship-nowhere", opener: ship("a", `{"sink":"black_hole"}`)},
		{name: "ship-file", opener: ship("b", fmt.Sprintf(`{"sink":"file","path":%q}`, filepath.Join(dir, "shipped.log")))},
		{name: "ship-http-plain", opener: ship("c", fmt.Sprintf(`{"sink":"http","url":%q,"compress":"none"}`, server.URL))},
		{name: "ship-http-zstd", opener: ship("d", fmt.Sprintf(`{"sink":"http","url":%q}`, server.URL))},
	}
	lines := logshiptest.Access(10_000)
	for range rounds {
		for _, c := range subjects {
			c.measure(b, lines)
		}
	}
	pace, file := subjects[0].each(), subjects[1].each()-subjects[0].each()
	for _, c := range subjects[1:] {
		b.ReportMetric(c.each()-pace, c.name+"-ns/line")
		b.ReportMetric((c.each()-pace)/file, c.name+"-ratio")
	}
	b.ReportMetric(pace, "pace-ns/line")
	b.ReportMetric(0, "ns/op")
}

// costly is a writer whose processor time is measured.
type costly struct {
	name   string
	opener caddy.WriterOpener
	out    io.WriteCloser
	lines  int
	took   time.Duration
}

func (c *costly) each() float64 { return float64(c.took.Nanoseconds()) / float64(c.lines) }

// measure is one turn: two seconds of lines, and one and a half in which what is late of it is done: a batch waits for more lines
// for a second, and so long does a line for the disk's sync.
func (c *costly) measure(b *testing.B, lines []string) {
	const rate, writers, turn = 20_000, 4, 2 * time.Second
	if c.out == nil {
		var err error
		if c.out, err = c.opener.OpenWriter(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.out.Close() }) // the figures are there
	}
	before := used(b)
	var pace sync.WaitGroup
	for range writers {
		pace.Go(func() {
			n := int(turn.Seconds() * rate / writers)
			for begun, done := time.Now(), 0; done < n; time.Sleep(time.Millisecond) {
				for due := int(time.Since(begun).Seconds() * rate / writers); done < min(due, n); done++ {
					_, _ = io.WriteString(c.out, lines[done%len(lines)])
				}
			}
		})
	}
	pace.Wait()
	time.Sleep(1500 * time.Millisecond)
	c.took += used(b) - before
	c.lines += int(turn.Seconds() * rate)
}

// used is the processor time of the process so far.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
