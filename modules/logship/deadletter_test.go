// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// poisoned makes 100 requests, three of which give lines that the receiver refuses, and waits until all are dealt with.
func poisoned(t *testing.T, s *gatehousetest.Server, r *receiver) {
	t.Helper()
	r.set(func() { r.poison, r.err = "poison", errAway })
	for i := range 100 {
		path := fmt.Sprintf("/%d", i)
		if i == 17 || i == 18 || i == 90 {
			path = "/poison"
		}
		s.Get(path)
	}
	gatehousetest.Eventually(t, "all lines are accepted", func() bool { return status(t, s).Sinks[0].Accepted == 100 })
	r.set(func() { r.err, r.sends = nil, 0 })
	gatehousetest.Eventually(t, "everything is delivered", func() bool { return status(t, s).Sinks[0].Pending == 0 })
}

func TestDeadLetters(t *testing.T) {
	dir := t.TempDir()
	r := newReceiver(t, "a")
	s := gatehousetest.Start(t, site(dir, "sink testing a"))
	poisoned(t, s, r)
	st := status(t, s)
	if sink := st.Sinks[0]; sink.Delivered != 97 || sink.DeadLettered != 3 || sink.Dropped != 0 || !strings.Contains(st.Health, "3 lines") {
		t.Fatalf("status is %+v", st)
	}
	if got := r.verify(t); got.Lines != 97 || got.Missing != 3 || got.Duplicates != 0 {
		t.Errorf("what has arrived is %+v", got)
	}
	if r.sends > 3*2*8 {
		t.Errorf("isolating three lines of 100 took %d sends", r.sends)
	}
	files, err := filepath.Glob(filepath.Join(dir, "dead", "testing", "*.ndjson"))
	if err != nil || len(files) == 0 {
		t.Fatalf("dead letters: %v, %v", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("dead letters are in a file of mode %v, %v", info.Mode(), err)
	}

	again := s.Admin("POST", "/gatehouse/logs/replay", "")
	if again.StatusCode != 200 || !strings.Contains(again.Body, `"refused":3`) {
		t.Errorf("a replay that the sink refuses: %d %s", again.StatusCode, again.Body)
	}
	r.set(func() { r.poison = "" })
	again = s.Admin("POST", "/gatehouse/logs/replay?sink=testing", "")
	if again.StatusCode != 200 || !strings.Contains(again.Body, `"delivered":3`) {
		t.Errorf("a replay that the sink takes: %d %s", again.StatusCode, again.Body)
	}
	if sink := status(t, s).Sinks[0]; sink.Delivered != 100 || sink.DeadLettered != 0 {
		t.Errorf("after the replay, status is %+v", sink)
	}
	if got := r.verify(t); got.Lines != 100 || got.Missing+got.Duplicates != 0 {
		t.Errorf("after the replay, what has arrived is %+v", got)
	}
}

func TestDeadLettersAreBounded(t *testing.T) {
	dir := t.TempDir()
	r := newReceiver(t, "a")
	s := gatehousetest.Start(t, site(dir, "sink testing a", "dead_letter "+filepath.Join(dir, "d")+" 1KiB"))
	poisoned(t, s, r)
	sink := status(t, s).Sinks[0]
	if sink.DeadLettered > 1 || sink.Dropped != 3-sink.DeadLettered || sink.Drops.DeadLetterFull != sink.Dropped {
		t.Errorf("status is %+v", sink)
	}
}

func TestDeadLettersOfAnyBytes(t *testing.T) {
	r := newReceiver(t, "a")
	dir := t.TempDir()
	s := gatehousetest.Start(t, site(dir, "sink testing a"))
	r.set(func() { r.poison = "poison" })
	if _, err := opened(t, dir).Write([]byte("poison \xff\xfe\n")); err != nil {
		t.Fatal(err)
	}
	gatehousetest.Eventually(t, "the line is put aside", func() bool { return status(t, s).Sinks[0].DeadLettered == 1 })
	files, _ := filepath.Glob(filepath.Join(dir, "dead", "testing", "*.ndjson"))
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var l struct {
		Seq    uint64
		Reason string
		Base64 []byte
	}
	if err := json.Unmarshal(text, &l); err != nil || string(l.Base64) != "poison \xff\xfe" || l.Reason == "" || l.Seq == 0 {
		t.Errorf("the dead letter is %s: %+v, %v", text, l, err)
	}
}
