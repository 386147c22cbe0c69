// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/logship"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/spool"
)

func TestLinesArrive(t *testing.T) {
	gatehousetest.NoLeaks(t)
	r := newReceiver(t, "a")
	s := gatehousetest.Start(t, site(t.TempDir(), "sink testing a", "node edge-1"))
	requests(t, s, 50)
	r.await(t, 50)
	if !strings.HasPrefix(r.lines[0], `{"ship_node":"edge-1","ship_epoch":`) || !strings.Contains(r.lines[0], `"msg":"handled request"`) {
		t.Errorf("a line is %s", r.lines[0])
	}
	gatehousetest.Eventually(t, "everything is delivered", func() bool { return status(t, s).Sinks[0].Delivered == 50 })
	st := status(t, s)
	if st.State != "open" || st.Health != "ok" || st.Node != "edge-1" || st.Sinks[0].State != "up" || st.Sinks[0].Name != "testing" {
		t.Errorf("status is %+v", st)
	}
}

func TestEverySinkGetsEveryLine(t *testing.T) {
	a, b := newReceiver(t, "a"), newReceiver(t, "b")
	b.set(func() { b.err = errAway })
	s := gatehousetest.Start(t, site(t.TempDir(), "sink testing a", "sink testing:second b"))
	requests(t, s, 50)
	a.await(t, 50)
	gatehousetest.Eventually(t, "the sink is found to be down", func() bool { return status(t, s).Sinks[0].State == "down" })
	st := status(t, s)
	if st.Sinks[0].Name != "second" || st.Sinks[0].Pending != 50 || st.Sinks[0].LastError != errAway.Error() ||
		!strings.Contains(st.Health, "second is down") {
		t.Errorf("status is %+v", st)
	}
	b.set(func() { b.err = nil })
	b.await(t, 50)
}

func TestBatchesAreBounded(t *testing.T) {
	r := newReceiver(t, "a")
	r.set(func() { r.err = errAway })
	s := gatehousetest.Start(t, site(t.TempDir(), "sink testing a", "node n"))
	requests(t, s, 250)
	r.set(func() { r.err, r.ids = nil, nil })
	r.await(t, 250)
	epoch := status(t, s).Epoch
	want := fmt.Sprintf("n-%d-%d-%d", epoch, r.verify(t).Nodes[0].First, 0)
	if !strings.HasPrefix(r.ids[0], strings.TrimSuffix(want, "0")) || len(r.ids) < 3 {
		t.Errorf("the batches are %v", r.ids)
	}
}

// A config that is gone for good must be written to all the same: by requests that outlive it.
func TestLateLines(t *testing.T) {
	r := newReceiver(t, "a")
	dir := t.TempDir()
	s := gatehousetest.Start(t, site(dir, "sink testing a"))
	requests(t, s, 5)
	if err := s.Reload(":8080 {\n respond ok\n}"); err != nil {
		t.Fatal(err)
	}
	writer := opened(t, dir)
	for i := range 3 {
		if _, err := fmt.Fprintf(writer, "{\"late\":%d}\n", i); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Reload(site(dir, "sink testing a")); err != nil {
		t.Fatal(err)
	}
	r.await(t, 8)
}

// opened returns what Caddy writes to for a spool's directory.
func opened(t *testing.T, dir string) interface{ Write([]byte) (int, error) } {
	t.Helper()
	w := &logship.Writer{Path: dir, Sinks: []*logship.SinkConfig{{SinkRaw: []byte(`{"sink":"testing","to":"nobody"}`)}}}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	if err := w.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	writer, err := w.OpenWriter()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Cleanup(); err != nil {
		t.Fatal(err)
	}
	return writer
}

func TestTwiceWithDifferingOptions(t *testing.T) {
	dir := t.TempDir()
	two := func(second string) string {
		return site(dir, "sink testing a") + "\n" + strings.Replace(site(dir, "sink testing a", second), ":8080", ":8081", 1)
	}
	r := newReceiver(t, "a")
	s := gatehousetest.Start(t, two(""))
	requests(t, s, 3)
	if got := s.Do("GET", s.URL(":8081"), ""); got.StatusCode != 200 {
		t.Fatal(got.StatusCode)
	}
	r.await(t, 4)
	if err := s.Reload(two("max_size 2MiB")); err == nil || !strings.Contains(err.Error(), "differing options") {
		t.Fatalf("two writers with differing options: %v", err)
	}
	requests(t, s, 3)
	r.await(t, 7)
}

// hold has another process's hand on the spool of a site, which has served 20 requests. end takes it away.
func hold(t *testing.T) (s *gatehousetest.Server, dir string, end func()) {
	t.Helper()
	dir = t.TempDir()
	other, _, err := spool.Open(dir, spool.Options{Segment: spool.MinSegment, MaxSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s = gatehousetest.Start(t, site(dir, "sink testing a"))
	requests(t, s, 20)
	return s, dir, func() {
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSpoolIsLocked(t *testing.T) {
	r := newReceiver(t, "a")
	s, _, end := hold(t)
	st := status(t, s)
	if st.State != "held" || st.HeldLines != 20 || !strings.Contains(st.Health, "another process") {
		t.Errorf("status is %+v", st)
	}
	end()
	r.await(t, 20)
}

// The log ends just when another process lets go of the spool: the lines that were held are not lost.
func TestHeldLinesAtTheEnd(t *testing.T) {
	r := newReceiver(t, "a")
	s, dir, end := hold(t)
	end()
	if err := s.Reload(":8080 {\n respond ok\n}"); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(site(dir, "sink testing a")); err != nil {
		t.Fatal(err)
	}
	r.await(t, 20)
}

// A spool that cannot be written to, here as a file stands in its place, fails no config.
func TestSpoolCannotBeMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := newReceiver(t, "a")
	s := gatehousetest.Start(t, site(dir, "sink testing a"))
	requests(t, s, 5)
	if st := status(t, s); st.State != "held" || !strings.Contains(st.Error, "not a directory") {
		t.Errorf("status is %+v", st)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	r.await(t, 5)
}

func TestBacklogIsShippedWithoutANewLine(t *testing.T) {
	dir := t.TempDir()
	r := newReceiver(t, "a")
	r.set(func() { r.err = errAway })
	s := gatehousetest.Start(t, site(dir, "sink testing a"))
	requests(t, s, 30)
	if err := s.Reload(":8080 {\n respond ok\n}"); err != nil {
		t.Fatal(err)
	}
	r.set(func() { r.err = nil })
	if err := s.Reload(site(dir, "sink testing a")); err != nil {
		t.Fatal(err)
	}
	r.await(t, 30)
}

func TestFlushAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	r := newReceiver(t, "a")
	s := gatehousetest.Start(t, strings.Replace(site(dir, "sink testing a"), "10ms", "1h", 1))
	requests(t, s, 30)
	if err := s.Reload(":8080 {\n respond ok\n}"); err != nil {
		t.Fatal(err)
	}
	if got := r.verify(t); got.Lines != 30 {
		t.Errorf("%d lines were delivered when the log ended, want 30", got.Lines)
	}
}

func TestFlushIsBounded(t *testing.T) {
	dir := t.TempDir()
	r := newReceiver(t, "a")
	r.set(func() { r.stalled = make(chan struct{}) })
	s := gatehousetest.Start(t, strings.Replace(site(dir, "sink testing a"), "flush 2s", "flush 100ms", 1))
	requests(t, s, 3)
	gatehousetest.Eventually(t, "a batch is on its way", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.sends > 0 })
	begun := time.Now()
	if err := s.Reload(":8080 {\n respond ok\n}"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > patience/2 {
		t.Errorf("the end waited %s for a sink that stalls", took)
	}
	r.set(func() { r.stalled = nil })
	if err := s.Reload(site(dir, "sink testing a")); err != nil {
		t.Fatal(err)
	}
	r.await(t, 3)
}

// What the filters take out must not be on the disk.
func TestNothingUnfilteredIsOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	r := newReceiver(t, "a")
	r.set(func() { r.err = errAway })
	s := gatehousetest.Start(t, strings.Replace(site(dir, "sink testing a"), "log {", "log {\n format filter {\n wrap json\n request>headers>X-Secret delete\n }\n", 1))
	for range 20 {
		s.Get("/", "X-Secret: tell-nobody", "X-Other: may-be-told")
	}
	var all []byte
	gatehousetest.Eventually(t, "all lines wait", func() bool { return status(t, s).Sinks[0].Pending == 20 })
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err == nil {
			all = append(all, text...)
		}
	}
	if !bytes.Contains(all, []byte("may-be-told")) || bytes.Contains(all, []byte("tell-nobody")) {
		t.Error("the spool does not hold the filtered lines, and them only")
	}
}
