// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func TestFixtures(t *testing.T) { gatehousetest.Fixtures(t, "testdata/*.caddyfiletest") }

func FuzzCaddyfile(f *testing.F) {
	for _, seed := range []string{"headroom 64MiB", "percent 400", "memory_limit 2GiB", "headroom 1", "percent -1", "{"} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, options string) {
		_, _ = gatehousetest.Adapt("{\n collector {\n" + options + "\n}\n}\n") // must not panic
	})
}

func TestWanted(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name string
		settings
		live int64
		want int
	}{
		{"a small heap gets the headroom", settings{headroom: 64 * mib}, 16 * mib, 400},
		{"a heap as large as the headroom", settings{headroom: 64 * mib}, 64 * mib, 100},
		{"a large heap gets no less than by default", settings{headroom: 64 * mib}, 1024 * mib, 100},
		{"nothing was collected yet", settings{headroom: 64 * mib}, 0, 6400},
		{"the percentage is bounded", settings{headroom: 1 << 40}, 0, mostPercent},
		{"a fixed percentage ignores the heap", settings{headroom: 64 * mib, percent: 50}, 16 * mib, 50},
	} {
		if got := c.wanted(c.live); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestDefaultHeadroom(t *testing.T) {
	for memory, want := range map[uint64]int64{
		0: smallest, 512 << 20: smallest, 4 << 30: 64 << 20, 16 << 30: largest, 1 << 40: largest,
	} {
		if got := headroomOf(memory); got != want {
			t.Errorf("%d bytes of memory give a headroom of %d, want %d", memory, got, want)
		}
	}
	if got := defaultHeadroom(); got < smallest || got > largest {
		t.Errorf("this machine's headroom is %d", got)
	}
}

// inForce returns what the process runs with.
func inForce() (percent int, limit int64) {
	percent = debug.SetGCPercent(goDefault)
	debug.SetGCPercent(percent)
	return percent, debug.SetMemoryLimit(unchanged)
}

func expect(t *testing.T, percent int, limit int64) {
	t.Helper()
	if p, l := inForce(); p != percent || l != limit {
		t.Errorf("GOGC %d and a limit of %d are in force, want %d and %d", p, l, percent, limit)
	}
}

// The settings follow the running config, also when one is rejected, and end with the last.
func TestReload(t *testing.T) {
	percent, limit := inForce()
	site := func(option, rest string) string {
		return "{\n" + option + "\n}\n:8080 {\n respond app\n" + rest + "}\n"
	}
	s := gatehousetest.Start(t, site("", ""))
	expect(t, percent, limit)
	reload := func(config string) {
		t.Helper()
		if err := s.Reload(config); err != nil {
			t.Fatal(err)
		}
	}
	reload(site("collector {\n percent 250\n memory_limit 2GiB\n}", ""))
	expect(t, 250, 2<<30)
	reload(site("collector {\n percent 300\n}", ""))
	expect(t, 300, limit)
	if got := s.Admin(http.MethodGet, "/metrics", "").Body; !strings.Contains(got, "gatehouse_collector_gogc_percent 300") {
		t.Error("the metric does not say 300")
	}
	if s.Reload(site("collector {\n percent 350\n}", "reverse_proxy {\n lb_policy weighted_round_robin 0\n}\n")) == nil {
		t.Fatal("a broken config was accepted")
	}
	expect(t, 300, limit)
	reload(site("", ""))
	expect(t, percent, limit)
}

// The headroom follows the live heap from collection to collection.
func TestHeadroomFollowsTheHeap(t *testing.T) {
	percent, limit := inForce()
	p := new(process)
	p.use(t, settings{headroom: 64 << 20})
	ballast := make([]byte, 32<<20)
	settles(t, "200 % for 32 MiB", p, func(percent float64) bool { return percent > 100 && percent < 230 })
	runtime.KeepAlive(ballast)
	settles(t, "more for less", p, func(percent float64) bool { return percent > 300 })
	p.drop(t)
	p.drop(t)
	expect(t, percent, limit)
	settles(t, "nothing", p, func(percent float64) bool { return percent == 0 })
}

// settles collects until the setting in force is right.
func settles(t *testing.T, what string, p *process, right func(float64) bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !right(p.current()); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("GOGC is %v, want %s", p.current(), what)
		}
		runtime.GC()
	}
}

func TestAdapt(t *testing.T) {
	percent, limit := inForce()
	t.Setenv(environment, "150")
	if err := Adapt(); err != nil {
		t.Fatal(err)
	}
	expect(t, percent, limit) // the operator's word stays

	t.Setenv(environment, "")
	if err := Adapt(); err != nil {
		t.Fatal(err)
	}
	if got, _ := inForce(); got <= goDefault {
		t.Errorf("GOGC is %d by default", got)
	}
	p, l, err := processes.Take()
	if err != nil {
		t.Fatal(err)
	}
	p.drop(p)
	_, _ = l.Release(), l // this test's own reference
	expect(t, percent, limit)
}
