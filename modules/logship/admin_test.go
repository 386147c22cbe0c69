// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func TestAdminErrors(t *testing.T) {
	newReceiver(t, "a")
	s := gatehousetest.Start(t, site(t.TempDir(), "sink testing a"))
	for request, want := range map[string]int{
		"POST /gatehouse/logs":                  405,
		"GET /gatehouse/logs/replay":            405,
		"GET /gatehouse/logs/tail?limit=x":      400,
		"GET /gatehouse/logs/tail?limit=10001":  400,
		"GET /gatehouse/logs/tail?after=-1":     400,
		"GET /gatehouse/logs/tail?spool=/other": 404,
		"POST /gatehouse/logs/replay?sink=none": 404,
		"GET /gatehouse/logs/tail":              200,
	} {
		method, path, _ := strings.Cut(request, " ")
		if got := s.Admin(method, path, ""); got.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", request, got.StatusCode, got.Body, want)
		}
	}
	if err := s.Reload(":8080 {\n respond ok\n}"); err != nil {
		t.Fatal(err)
	}
	if got := s.Admin("GET", "/gatehouse/logs", ""); strings.TrimSpace(got.Body) != "[]" {
		t.Errorf("without a log that ships: %s", got.Body)
	}
	if got := s.Admin("GET", "/gatehouse/logs/tail", ""); got.StatusCode != 404 || !strings.Contains(got.Body, "output ship") {
		t.Errorf("without a log that ships: %d %s", got.StatusCode, got.Body)
	}
}

func TestCommands(t *testing.T) {
	r := newReceiver(t, "a")
	dir := t.TempDir()
	s := gatehousetest.Start(t, site(dir, "sink testing a"))
	requests(t, s, 20)
	r.await(t, 20)
	gatehousetest.Eventually(t, "everything is delivered", func() bool { return status(t, s).Sinks[0].Pending == 0 })
	for _, test := range []struct{ args, want string }{
		{"status", "up"},
		{"status --json", `"delivered": 20`},
		{"tail -n 3", `"uri":"/19"`},
		{"replay", "delivered 0 lines"},
	} {
		if out, err := s.Command(append([]string{"logs"}, strings.Fields(test.args)...)...); err != nil || !strings.Contains(out, test.want) {
			t.Errorf("logs %s prints %q, %v; want %q", test.args, out, err, test.want)
		}
	}
	if out, _ := s.Command("logs", "tail", "-n", "3"); strings.Count(out, "\n") != 3 {
		t.Errorf("the last three lines are %q", out)
	}
	if _, err := gatehousetest.Command(t, "", "logs", "nosuch"); err == nil {
		t.Error("an unknown command was accepted")
	}
}

func TestVerifyCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "delivered")
	write := func(seqs ...int) {
		var text strings.Builder
		for _, seq := range seqs {
			fmt.Fprintf(&text, "{\"ship_node\":\"a\",\"ship_epoch\":1,\"ship_seq\":%d}\n", seq)
		}
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(1, 2, 3, 3)
	if out, err := gatehousetest.Command(t, "", "logs", "verify", file); err != nil || !strings.Contains(out, "complete: 3 lines, 1 duplicates") {
		t.Errorf("verify prints %q, %v", out, err)
	}
	write(1, 2, 5)
	if out, err := gatehousetest.Command(t, "", "logs", "verify", file); err == nil || !strings.Contains(err.Error(), "2 missing") {
		t.Errorf("verify prints %q, %v", out, err)
	}
	if _, err := gatehousetest.Command(t, "", "logs", "verify", file+".none"); err == nil {
		t.Error("a file that is not there was verified")
	}
}

func TestMetrics(t *testing.T) {
	r := newReceiver(t, "a")
	dir := t.TempDir()
	s := gatehousetest.Start(t, "{\n metrics\n}\n"+site(dir, "sink testing a"))
	requests(t, s, 20)
	r.await(t, 20)
	gatehousetest.Eventually(t, "everything is delivered", func() bool { return status(t, s).Sinks[0].Pending == 0 })
	body := s.Admin("GET", "/metrics", "").Body
	for _, name := range []string{"accepted_total", "delivered_total"} {
		if want := fmt.Sprintf("gatehouse_logship_%s{sink=\"testing\",spool=%q} 20", name, dir); !strings.Contains(body, want) {
			t.Errorf("no metric %s", want)
		}
	}
	for _, name := range []string{
		"spool_bytes", "spool_open", "held_lines", "dropped_total", "drops_total", "dead_lettered_lines", "pending_lines",
		"pending_bytes", "oldest_age_seconds", "sink_up", "batch_seconds_bucket",
	} {
		if !strings.Contains(body, "gatehouse_logship_"+name+"{") {
			t.Errorf("no metric gatehouse_logship_%s", name)
		}
	}
}
