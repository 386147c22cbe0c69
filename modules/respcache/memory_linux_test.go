// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/collector"
)

// workloads fill a cache of 256 MiB in the ways that make caches outgrow their budget.
var workloads = map[string]func(t *testing.T, d *direct, size *int){
	"200,000 keys of 16 KiB": func(_ *testing.T, d *direct, size *int) {
		*size = 16 << 10
		for i := range 200_000 {
			d.get(fmt.Sprint("http://example.com/", i))
		}
	},
	"1,000 keys that grow from 1 KiB to 1 MiB": func(_ *testing.T, d *direct, size *int) {
		for *size = 1 << 10; *size <= 1<<20; *size *= 2 {
			for i := range 1000 {
				d.get(fmt.Sprint("http://example.com/", i), "Cache-Control", "no-cache")
			}
		}
	},
	"5,000 variants of one URL": func(_ *testing.T, d *direct, size *int) {
		*size = 64 << 10
		for i := range 5000 {
			d.get("http://example.com/", "X-Variant", strconv.Itoa(i))
		}
	},
	"a body of 4 GiB that passes": func(t *testing.T, d *direct, size *int) {
		*size = 4 << 30
		d.get("http://example.com/") // to a recorder that keeps nothing of it
		if d.asked.Load() != 1 {
			t.Fatal("the body was not asked for")
		}
	},
}

// sized answers with as many bytes as the workload says, in pieces of 32 KiB and of known length up to 1 MiB.
func sized(size *int) http.HandlerFunc {
	piece := []byte(strings.Repeat("0123456789abcdef", 2048))
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		w.Header().Set("Vary", "X-Variant")
		if *size <= 1<<20 {
			w.Header().Set("Content-Length", strconv.Itoa(*size))
		}
		for left := *size; left > 0; left -= len(piece) {
			if _, err := w.Write(piece[:min(left, len(piece))]); err != nil {
				return
			}
		}
	}
}

// resident is the process's memory in bytes: now, and at its largest.
func resident(t *testing.T) (now, peak int64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kibibytes int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d", &kibibytes); n == 1 {
			now = kibibytes << 10
		}
		if n, _ := fmt.Sscanf(line, "VmHWM: %d", &kibibytes); n == 1 {
			peak = kibibytes << 10
		}
	}
	return now, peak
}

// TestMemory runs each workload in a process of its own, at the collector's settings that the binary is shipped with, and looks at
// how large it becomes.
func TestMemory(t *testing.T) {
	if name := os.Getenv("GATEHOUSE_WORKLOAD"); name != "" {
		runWorkload(t, name)
		return
	}
	names := []string{"5,000 variants of one URL", "a body of 4 GiB that passes", "200,000 keys of 16 KiB", "1,000 keys that grow from 1 KiB to 1 MiB"}
	for _, name := range figure(t, names, names[:1]) {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestMemory$", "-test.v")
			cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "GOGC=") || strings.HasPrefix(s, "GOMEMLIMIT=") })
			cmd.Env = append(cmd.Env, "GATEHOUSE_WORKLOAD="+name)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for line := range strings.Lines(string(out)) {
				if _, text, ok := strings.Cut(line, "memory: "); ok {
					t.Log(strings.TrimSpace(text))
				}
			}
		})
	}
}

func runWorkload(t *testing.T, name string) {
	const budget, mebibyte = int64(256 << 20), 1 << 20
	if err := collector.Adapt(); err != nil { // as the binary does
		t.Fatal(err)
	}
	size := 0
	d := newDirect(t, sized(&size))
	d.recorder = func() http.ResponseWriter { return &discard{header: http.Header{}} }
	runtime.GC()
	before, _ := resident(t)
	workloads[name](t, d, &size)
	after, peak := resident(t)
	_, _ = io.WriteString(os.Stdout, fmt.Sprintf("memory: %s: before %d MiB, after %d MiB, peak %d MiB\n", name, before/mebibyte, after/mebibyte, peak/mebibyte))
	limit := budget + budget/2 + 128<<20
	if strings.Contains(name, "passes") {
		limit = before + 16<<20
	}
	if peak > limit {
		t.Errorf("%s: %d MiB, want at most %d MiB", name, peak/mebibyte, limit/mebibyte)
	}
}
