// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/gatehouse-proxy/gatehouse/modules/logship"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/logshiptest"
)

// BenchmarkShip logs lines as fast as it can and ships them to a receiver that decodes them, by HTTP with zstd; the time ends
// when the last one has arrived.
func BenchmarkShip(b *testing.B) {
	var arrived countingReceiver
	server := httptest.NewServer(&arrived)
	b.Cleanup(server.Close)
	w := &logship.Writer{Path: b.TempDir(), MaxSize: 4 << 30, Sinks: []*logship.SinkConfig{
		{SinkRaw: []byte(fmt.Sprintf(`{"sink":"http","url":%q}`, server.URL))},
	}}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: b.Context()})
	b.Cleanup(cancel)
	if err := w.Provision(ctx); err != nil {
		b.Fatal(err)
	}
	out, err := w.OpenWriter()
	if err != nil {
		b.Fatal(err)
	}
	lines := logshiptest.Access(10_000)
	n, size, begun := 0, 0, time.Now()
	for b.Loop() {
		for _, line := range lines {
			size += len(line)
			if _, err := out.Write([]byte(line)); err != nil {
				b.Fatal(err)
			}
		}
		n += len(lines)
	}
	for deadline := time.Now().Add(time.Minute); arrived.lines.Load() < int64(n); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d lines have arrived", arrived.lines.Load(), n)
		}
	}
	b.ReportMetric(float64(n)/time.Since(begun).Seconds(), "lines/s")
	b.ReportMetric(float64(size)/float64(n), "B/line")
}

// countingReceiver decodes batches and counts their lines.
type countingReceiver struct{ lines atomic.Int64 }

func (c *countingReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	z, err := zstd.NewReader(r.Body, zstd.WithDecoderConcurrency(1))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer z.Close()
	var lines lineCounter
	if _, err := io.Copy(&lines, z); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	c.lines.Add(int64(lines))
}

// lineCounter counts the line ends that are written to it.
type lineCounter int64

func (n *lineCounter) Write(p []byte) (int, error) {
	*n += lineCounter(bytes.Count(p, []byte("\n")))
	return len(p), nil
}
