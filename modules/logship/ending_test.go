// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// The log ends while a batch waits to be tried again, and the sink comes back just then: the batch goes first.
func TestSinkComesBackAsTheLogEnds(t *testing.T) {
	r := newReceiver(t, "a")
	s := gatehousetest.Start(t, strings.Replace(site(t.TempDir(), "sink testing a"), "retry 1ms 20ms", "retry 30s 30s", 1))
	r.set(func() { r.err = errAway })
	requests(t, s, 250)
	gatehousetest.Eventually(t, "the sink is found to be down", func() bool { return status(t, s).Sinks[0].State == "down" })
	r.set(func() { r.err = nil })
	if err := s.Reload(":8080 {\n respond ok\n}"); err != nil {
		t.Fatal(err)
	}
	r.await(t, 250)
}

// The log ends while one sink is away and another still takes its last lines: the first one's backlog of many segments stays, though
// the second one has had it.
func TestBacklogOutlastsTheEnd(t *testing.T) {
	away, slow := newReceiver(t, "away"), newReceiver(t, "slow")
	config := site(t.TempDir(), "segment_size 64KiB", "sink testing away", "sink testing:slow slow")
	s := gatehousetest.Start(t, config)
	away.set(func() { away.err = errAway })
	requests(t, s, 500)
	slow.await(t, 500)
	stalled := make(chan struct{})
	slow.set(func() { slow.stalled = stalled })
	requests(t, s, 1)
	gatehousetest.Eventually(t, "a line waits for each sink", func() bool { st := status(t, s).Sinks; return min(st[0].Pending, st[1].Pending) == 1 })
	time.AfterFunc(300*time.Millisecond, func() { close(stalled) })
	if err := s.Reload(":8080 {\n respond ok\n}"); err != nil {
		t.Fatal(err)
	}
	away.set(func() { away.err = nil })
	if err := s.Reload(config); err != nil {
		t.Fatal(err)
	}
	away.await(t, 501)
	slow.await(t, 501)
	for _, sink := range status(t, s).Sinks {
		if sink.Dropped > 0 {
			t.Errorf("status is %+v", sink)
		}
	}
}

// A reload adds a sink whose cursor cannot be made for a while, as when files run out: it begins later.
func TestSinkThatCannotBeginYet(t *testing.T) {
	dir := t.TempDir()
	a, b := newReceiver(t, "a"), newReceiver(t, "b")
	s := gatehousetest.Start(t, site(dir, "sink testing a"))
	requests(t, s, 5)
	a.await(t, 5)
	obstacle := filepath.Join(dir, "other.cursor")
	if err := os.Mkdir(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(site(dir, "sink testing a", "sink testing:other b")); err != nil {
		t.Fatal(err)
	}
	requests(t, s, 5)
	a.await(t, 10)
	if st := status(t, s); len(st.Sinks) != 1 || !strings.Contains(st.Health, `sink "other"`) {
		t.Errorf("status is %+v", st)
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	gatehousetest.Eventually(t, "both sinks are well", func() bool { st := status(t, s); return len(st.Sinks) == 2 && st.Health == "ok" })
	requests(t, s, 5)
	a.await(t, 15)
	gatehousetest.Eventually(t, "five lines arrive", func() bool { return b.verify(t).Lines >= 5 })
}

// The dead letters' directory cannot be made for a while: the batch waits for it, and nothing is lost or sent twice.
func TestDeadLettersThatCannotBeKept(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead letters")
	if err := os.WriteFile(dead, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := newReceiver(t, "a")
	r.set(func() { r.poison = "poison" })
	s := gatehousetest.Start(t, site(filepath.Join(dir, "spool"), "dead_letter \""+dead+"\"", "sink testing a"))
	requests(t, s, 5)
	s.Get("/poison")
	requests(t, s, 5)
	gatehousetest.Eventually(t, "the rest is accepted", func() bool { return r.verify(t).Lines >= 5 && status(t, s).Sinks[0].Accepted == 11 })
	if sink := status(t, s).Sinks[0]; sink.Dropped+sink.DeadLettered > 0 {
		t.Errorf("status is %+v", sink)
	}
	if err := os.Remove(dead); err != nil {
		t.Fatal(err)
	}
	gatehousetest.Eventually(t, "everything is delivered", func() bool { return status(t, s).Sinks[0].Pending == 0 })
	if sink := status(t, s).Sinks[0]; sink.Delivered != 10 || sink.DeadLettered != 1 || sink.Dropped != 0 {
		t.Errorf("status is %+v", sink)
	}
	if got := r.verify(t); got.Lines != 10 || got.Duplicates > 0 {
		t.Errorf("what has arrived is %+v", got)
	}
}
