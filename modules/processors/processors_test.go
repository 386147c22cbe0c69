// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package processors

import (
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func TestFixtures(t *testing.T) { gatehousetest.Fixtures(t, "testdata/*.caddyfiletest") }

func FuzzCaddyfile(f *testing.F) {
	for _, seed := range []string{"", "all", "2", "0", "-1", "2 4", "{", "{\nleast 2\n}"} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, options string) {
		_, _ = gatehousetest.Adapt("{\n processors " + options + "\n}\n") // must not panic
	})
}

func TestLeast(t *testing.T) {
	for _, c := range []struct {
		settings
		most, want int
	}{
		{settings{}, 1, 1},
		{settings{}, 2, 1},
		{settings{}, 7, 1},
		{settings{}, 64, 16},
		{settings{least: 3}, 8, 3},
		{settings{least: 3}, 2, 2},
		{settings{all: true}, 8, 8},
	} {
		if got := c.of(c.most); got != c.want {
			t.Errorf("%+v of %d is %d, want %d", c.settings, c.most, got, c.want)
		}
	}
}

// phase is a load that stays for a time.
type phase struct {
	cores, runnable float64
	looks           int
	want            int // cores in use at its end
}

func TestGovernor(t *testing.T) {
	for name, c := range map[string]struct {
		least, most int
		phases      []phase
	}{
		"starts with all, and needs a calm second for fewer": {1, 2, []phase{
			{0.2, 0, 49, 2}, {0.2, 0, 1, 1},
		}},
		"a saturated core has all within 80 ms": {1, 16, []phase{
			{0.1, 0, 250, 1}, {1, 0, 3, 1}, {1, 0, 1, 16},
		}},
		"from rest it is one look more": {1, 16, []phase{
			{0, 0, 250, 1}, {1, 0, 4, 1}, {1, 0, 1, 16},
		}},
		"one busy look is no load": {1, 2, []phase{
			{0.2, 0, 50, 1}, {1, 3, 1, 1}, {0.2, 0, 50, 1},
		}},
		"half a core stays where it is": {1, 2, []phase{
			{0.2, 0, 50, 1}, {0.5, 1, 200, 1}, {1.2, 4, 10, 2}, {0.5, 1, 200, 2}, {0.3, 0, 50, 1},
		}},
		"a queue needs cores, whatever they do": {1, 4, []phase{
			{0.1, 0, 100, 1}, {0.3, 30, 2, 2}, {0.3, 30, 20, 4}, {0.3, 30, 200, 4},
		}},
		"as many as the load needs": {2, 16, []phase{
			{0, 0, 150, 2}, {1.5, 0, 40, 4}, {3, 0, 40, 8}, {3, 0, 200, 8}, {1.5, 0, 100, 4}, {0, 0, 100, 2}, {0, 0, 100, 2},
		}},
		"not a power of two": {1, 6, []phase{
			{0, 0, 50, 3}, {0, 0, 50, 1}, {6, 0, 5, 6},
		}},
		"least and most the same": {4, 4, []phase{{0, 0, 500, 4}, {4, 99, 50, 4}}},
	} {
		g := governor{least: c.least, most: c.most, now: c.most}
		for i, p := range c.phases {
			for range p.looks {
				g.next(look{p.cores, p.runnable, interval})
			}
			if g.now != p.want {
				t.Errorf("%s: after phase %d %d cores are in use, want %d", name, i, g.now, p.want)
			}
		}
	}
}

func TestRest(t *testing.T) {
	g := governor{least: 1, most: 2}
	for _, c := range []struct {
		l    look
		want time.Duration
	}{{look{}, rest}, {look{cores: 0.005}, rest}, {look{cores: 0.02}, interval}, {look{runnable: 1}, interval}} {
		if got := g.pause(c.l); got != c.want {
			t.Errorf("after %+v the pause is %v, want %v", c.l, got, c.want)
		}
	}
	one := governor{least: 1, most: 1}
	if got := one.pause(look{cores: 1, runnable: 9}); got != rest {
		t.Errorf("where there is nothing to decide the pause is %v, want %v", got, rest)
	}
}

// twoCores gives the process at least two processors for a test.
func twoCores(t *testing.T) int {
	t.Helper()
	before := runtime.GOMAXPROCS(0)
	n := max(before, 2)
	runtime.GOMAXPROCS(n)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	return n
}

// burn keeps n goroutines busy until the returned function is called.
func burn(n int) (stop func()) {
	var done atomic.Bool
	var burning sync.WaitGroup
	for range n {
		burning.Go(func() {
			for !done.Load() {
			}
		})
	}
	return func() { done.Store(true); burning.Wait() }
}

// The number follows the load of this very process, and what was before is back.
func TestFollowsTheLoad(t *testing.T) {
	all := twoCores(t)
	p := new(process)
	p.use(t, settings{least: 1})
	gatehousetest.Eventually(t, "an idle process uses one core", func() bool { return p.inUse() == 1 })
	stop := burn(64) // so that they queue, even where others take the machine
	gatehousetest.Eventually(t, "a busy process uses all cores", func() bool { return p.inUse() == float64(all) })
	stop()
	gatehousetest.Eventually(t, "it uses one again", func() bool { return p.inUse() == 1 })
	runtime.GC() // which interrupts who occupies a processor
	if p.changed() < 3 {
		t.Errorf("%v changes were counted, want at least 3", p.changed())
	}
	p.drop(t)
	p.drop(t)
	if n := runtime.GOMAXPROCS(0); n != all || p.inUse() != 0 {
		t.Errorf("afterwards %d processors are there, want %d; in use are %v, want 0", n, all, p.inUse())
	}
}

// Who sets the number of processors beside us says how many there are.
func TestAnothersWord(t *testing.T) {
	twoCores(t)
	p := new(process)
	p.use(t, settings{least: 1})
	defer p.drop(t)
	gatehousetest.Eventually(t, "an idle process uses one core", func() bool { return p.inUse() == 1 })
	runtime.GOMAXPROCS(5)
	stop := burn(64)
	defer stop()
	gatehousetest.Eventually(t, "five are all", func() bool { return p.inUse() == 5 })
}

// Caddy sets the number a moment before the first config runs: sooner than anything looks again.
func TestAnothersWordIsNotUndone(t *testing.T) {
	before := twoCores(t)
	p := new(process)
	p.use(p, settings{})
	if n := p.inUse(); n != float64(before) {
		t.Errorf("at first %v cores are in use, want all %d", n, before)
	}
	runtime.GOMAXPROCS(before + 3)
	p.use(t, settings{all: true})
	if n := p.inUse(); n != float64(before+3) {
		t.Errorf("%v cores are in use, want the %d that were set", n, before+3)
	}
	runtime.GOMAXPROCS(before + 1)
	p.drop(t)
	p.drop(p)
	if n := runtime.GOMAXPROCS(0); n != before+1 {
		t.Errorf("afterwards %d processors are there, want the %d that were set", n, before+1)
	}
}

// The config that ends in a reload has no say any more, so that its end does not begin anything anew.
func TestTheOneBeforeEnds(t *testing.T) {
	twoCores(t)
	p := new(process)
	p.use("before", settings{})
	p.use("after", settings{})
	following := p.stop
	p.drop("before")
	if p.stop != following {
		t.Error("it began anew")
	}
	p.drop("after")
	if p.stop != nil {
		t.Error("it did not end")
	}
}

// A processor is occupied only while a load is there that needs fewer, and never while a call blocks another one.
func TestBlocking(t *testing.T) {
	if !seats() {
		t.Log("no processor can be occupied here")
		return
	}
	twoCores(t)
	p, l, err := processes.Take()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Release() }()
	p.use(t, settings{least: 1})
	defer p.drop(t)
	stop := nudge()
	defer stop()
	gatehousetest.Eventually(t, "a processor is occupied", p.sits.Load)
	failed := errors.New("the disk is full")
	for range 20 {
		err := Blocking(func() error {
			for range 10 {
				if p.sits.Load() {
					// The call begins after some milliseconds in any case; from then on nobody sits down.
					gatehousetest.Eventually(t, "the processor is free", func() bool { return !p.sits.Load() })
				}
			}
			return failed
		})
		if !errors.Is(err, failed) {
			t.Fatalf("the call's error became %v", err)
		}
	}
	gatehousetest.Eventually(t, "a processor is occupied again", p.sits.Load)
	var calls sync.WaitGroup
	for range 5000 {
		calls.Go(func() { _ = Blocking(func() error { return nil }) })
	}
	calls.Wait()
	gatehousetest.Eventually(t, "a processor is occupied after thousands of calls at once", p.sits.Load)
}

// nudge gives the process a little to do until the returned function is called.
func nudge() (stop func()) {
	done := make(chan struct{})
	var working sync.WaitGroup
	working.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				for begun := time.Now(); time.Since(begun) < 100*time.Microsecond; {
				}
			}
		}
	})
	return func() { close(done); working.Wait() }
}

// The settings follow the running config, also when one is rejected, and end with the last.
func TestReload(t *testing.T) {
	all := twoCores(t)
	site := func(option, rest string) string {
		return "{\n" + option + "\n}\n:8080 {\n respond app\n" + rest + "}\n"
	}
	s := gatehousetest.Start(t, site("", ""))
	reload := func(config string) {
		t.Helper()
		if err := s.Reload(config); err != nil {
			t.Fatal(err)
		}
	}
	one := func() bool { return processes.Read((*process).inUse) == 1 }
	reload(site("processors 1", ""))
	gatehousetest.Eventually(t, "one core is in use", one)
	if got := s.Admin(http.MethodGet, "/metrics", "").Body; !strings.Contains(got, "gatehouse_processors_in_use ") {
		t.Error("there is no metric")
	}
	if s.Reload(site("processors all", "reverse_proxy {\n lb_policy weighted_round_robin 0\n}\n")) == nil {
		t.Fatal("a broken config was accepted")
	}
	gatehousetest.Eventually(t, "one core is still in use", one)
	reload(site("", ""))
	if n := runtime.GOMAXPROCS(0); n != all {
		t.Errorf("%d processors are there, want %d", n, all)
	}
}

func TestProvisionRefuses(t *testing.T) {
	s := gatehousetest.Start(t, ":8080 {\n respond app\n}\n")
	for config, want := range map[string]string{
		`{"apps": {"processors": {"least": 2, "all": true}}}`: "exclude each other",
		`{"apps": {"processors": {"least": -1}}}`:             "expected 1 to 4096, found -1",
		`{"apps": {"processors": {"least": 4097}}}`:           "expected 1 to 4096, found 4097",
	} {
		if err := s.ReloadJSON([]byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", config, err, want)
		}
	}
}

func TestAdapt(t *testing.T) {
	all := twoCores(t)
	t.Setenv(environment, "2")
	if err := Adapt(); err != nil {
		t.Fatal(err)
	}
	p, l, err := processes.Take()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Release() }()
	if p.inUse() != 0 {
		t.Error("the operator's word does not stay")
	}
	t.Setenv(environment, "")
	if err := Adapt(); err != nil {
		t.Fatal(err)
	}
	gatehousetest.Eventually(t, "an idle process uses few cores", func() bool { return p.inUse() == float64(settings{}.of(all)) })
	p.drop(p)
}
