// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/logship"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/logshiptest"
	"github.com/gatehouse-proxy/gatehouse/plugins/redis"
)

// runClient runs a config with a client, so that a sink finds it.
func runClient(t testing.TB, address string) {
	t.Helper()
	gatehousetest.Start(t, fmt.Sprintf("{\n redis redis://%s/0\n}\n:8080 {\n respond ok\n}", address))
}

// stream reads the lines of a stream from the server itself.
func stream(t testing.TB, address, key string) ([]string, error) {
	direct := goredis.NewClient(&goredis.Options{Addr: address})
	defer direct.Close()
	entries, err := direct.XRange(t.Context(), key, "-", "+").Result()
	lines := make([]string, len(entries))
	for i, entry := range entries {
		lines[i], _ = entry.Values["line"].(string)
	}
	return lines, err
}

func TestLogSinkConformance(t *testing.T) {
	logshiptest.Run(t, func(t *testing.T) *logshiptest.Subject {
		server := gatehousetest.StartRedis(t)
		relay := logshiptest.NewRelay(t, server.Address)
		runClient(t, relay.Address)
		return &logshiptest.Subject{
			Sink: &redis.LogSink{}, Break: relay.Break, Stall: relay.Stall, Mend: relay.Mend, Dedupes: true,
			Received: func() ([]string, error) { return stream(t, server.Address, "gatehouse:1:logs:test-node.1") },
		}
	})
}

func logSubject(t *testing.T, s *redis.LogSink) (*logshiptest.Subject, *gatehousetest.Redis) {
	server := gatehousetest.StartRedis(t)
	runClient(t, server.Address)
	return &logshiptest.Subject{Sink: s}, server
}

func TestLogSinkEntries(t *testing.T) {
	s, server := logSubject(t, &redis.LogSink{})
	s.Send(t, logshiptest.Batch(1, logshiptest.Access(3)...))
	direct := goredis.NewClient(&goredis.Options{Addr: server.Address})
	defer direct.Close()
	entries, err := direct.XRange(t.Context(), "gatehouse:1:logs:test-node.1", "-", "+").Result()
	if err != nil || len(entries) != 3 || entries[0].ID != "1700000000000-1" || entries[2].ID != "1700000000000-3" {
		t.Fatalf("the stream has %v, %v", entries, err)
	}
}

func TestLogSinkMaxLen(t *testing.T) {
	s, server := logSubject(t, &redis.LogSink{MaxLen: 1000})
	for first := uint64(1); first < 5000; first += 500 {
		s.Send(t, logshiptest.Batch(first, logshiptest.Access(500)...))
	}
	lines, err := stream(t, server.Address, "gatehouse:1:logs:test-node.1")
	if err != nil || len(lines) < 1000 || len(lines) > 1500 {
		t.Fatalf("the stream has %d lines, want about 1000 (%v)", len(lines), err)
	}
}

// Two proxies in one stream: none of their lines is taken for a duplicate of the other's.
func TestLogSinkSharedStream(t *testing.T) {
	s, server := logSubject(t, &redis.LogSink{Stream: "all"})
	for first := uint64(1); first < 100; first += 10 {
		for node, epoch := range map[string]uint64{"a": 2000, "b": 1000} {
			batch := logshiptest.Batch(first, logshiptest.Access(10)...)
			batch.Node, batch.Epoch = node, epoch
			s.Send(t, batch)
		}
	}
	lines, err := stream(t, server.Address, "gatehouse:1:logs:all")
	if err != nil {
		t.Fatal(err)
	}
	var v logship.Verifier
	for _, line := range lines {
		if err := v.Add([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if r := v.Report(); r.Lines != 200 || r.Missing+r.Duplicates+r.Unreadable > 0 {
		t.Errorf("the stream has %+v", r)
	}
}

func TestLogSinkWithoutClient(t *testing.T) {
	gatehousetest.Start(t, ":8080 {\n respond ok\n}")
	if err := (&redis.LogSink{}).Send(t.Context(), logshiptest.Batch(1, "{}")); err == nil {
		t.Fatal("lines were sent to nowhere")
	}
	if err := (&redis.LogSink{MaxLen: -2}).Provision(gatehousetest.Context(t)); err == nil {
		t.Fatal("a negative limit was accepted")
	}
}

// A Redis that is killed, with what it had on its disk, and started again.
func TestLogSinkOverARestart(t *testing.T) {
	server := gatehousetest.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	dir := filepath.Join(t.TempDir(), "spool")
	s := gatehousetest.Start(t, fmt.Sprintf("{\n redis %s\n}\n:8080 {\n log {\n output ship %s {\n sink redis\n node n\n batch 50 1MiB 5ms\n retry 1ms 20ms\n }\n }\n respond ok\n}",
		server.URL(), dir))
	for i := range 300 {
		if i == 100 {
			server.Kill()
		}
		if i == 200 {
			server.Start()
		}
		s.Get(fmt.Sprintf("/%d", i))
	}
	var report logship.Report
	for deadline := time.Now().Add(20 * time.Second); report.Lines < 300 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		lines, err := stream(t, server.Address, "gatehouse:1:logs:n")
		if err != nil {
			continue
		}
		var v logship.Verifier
		for _, line := range lines {
			if err := v.Add([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
		report = v.Report()
	}
	if report.Lines != 300 || report.Missing+report.Duplicates > 0 {
		t.Errorf("the stream has %+v", report)
	}
}

func BenchmarkLogSink(b *testing.B) {
	server := gatehousetest.StartRedis(b)
	runClient(b, server.Address)
	s := &redis.LogSink{MaxLen: 100_000}
	batch := logshiptest.Batch(1, logshiptest.Access(5000)...)
	for b.Loop() {
		if err := s.Send(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		for i := range batch.Lines {
			batch.Lines[i].Seq += 5000
		}
	}
	b.ReportMetric(float64(b.N)*5000/b.Elapsed().Seconds(), "lines/s")
}
