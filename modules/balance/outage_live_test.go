// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/cmd/origin/origin"
	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// ordinary is how a well upstream behaves here: two workers and a mean of 30 ms, so five of them take 330 requests a second.
func ordinary() origin.Settings {
	return origin.Settings{Workers: 2, Latency: "lognormal:30ms,0.7"}
}

// farm is five upstreams behind one site, and what a load on it saw.
type farm struct {
	t         *testing.T
	url       string
	upstreams []*origin.Listener
	addresses []string
	client    *http.Client

	mu       sync.Mutex // guards answers
	answers  []sample
	underWay sync.WaitGroup
}

// sample is an answer as a client saw it.
type sample struct {
	sent   time.Time
	took   time.Duration
	status int
}

func newFarm(t *testing.T) *farm {
	f := &farm{t: t, client: &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}}
	t.Cleanup(f.client.CloseIdleConnections)
	for range 5 {
		upstream, err := origin.New(ordinary())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(upstream.Close)
		f.upstreams = append(f.upstreams, upstream)
		f.addresses = append(f.addresses, serve(t, upstream))
	}
	return f
}

// site is the Caddyfile of the farm, at a port of its own.
func (f *farm) site(port, policy string) string {
	return fmt.Sprintf(":%s {\n\treverse_proxy %s {\n\t\tlb_policy %s\n\t}\n}\n", port, strings.Join(f.addresses, " "), policy)
}

// run sends rate requests a second, whether or not they are answered, until stop is closed.
func (f *farm) run(rate int, stop <-chan struct{}) {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for {
		select {
		case <-stop:
			f.underWay.Wait()
			return
		case <-tick.C:
			f.underWay.Go(f.get)
		}
	}
}

func (f *farm) get() {
	s := sample{sent: time.Now()}
	if res, err := f.client.Get(f.url + "/echo/x"); err == nil {
		if _, err := io.Copy(io.Discard, res.Body); err == nil {
			s.status = res.StatusCode
		}
		res.Body.Close()
	}
	s.took = time.Since(s.sent)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = append(f.answers, s)
}

func (f *farm) set(i int, change func(*origin.Settings)) {
	settings := ordinary()
	change(&settings)
	if err := f.upstreams[i].Set(settings); err != nil {
		f.t.Error(err)
	}
}

// during returns what was sent in a span of time, after all of it was answered.
func (f *farm) during(from, to time.Time) (errors int, took []time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.answers {
		if s.sent.Before(from) || !s.sent.Before(to) {
			continue
		}
		took = append(took, s.took)
		if s.status != http.StatusOK {
			errors++
		}
	}
	slices.Sort(took)
	return errors, took
}

// slower is how many of the sorted times are longer than limit.
func slower(took []time.Duration, limit time.Duration) int {
	i, _ := slices.BinarySearch(took, limit)
	return len(took) - i
}

// Under the same load, with the same trouble, least_response_time must lose next to nothing where least_conn loses much. How
// little it loses is a figure, for GATEHOUSE_FIGURES=1 on an idle machine; everywhere it must lose far less.
func TestOutages(t *testing.T) {
	figures := os.Getenv("GATEHOUSE_FIGURES") != ""
	ours, theirs := newFarm(t), newFarm(t)
	farms := []*farm{ours, theirs}
	s := gatehousetest.Start(t, ours.site("8080", "least_response_time")+theirs.site("8081", "least_conn"))
	ours.url, theirs.url = s.URL(":8080"), s.URL(":8081")

	stop := make(chan struct{})
	var load sync.WaitGroup
	for _, f := range farms {
		load.Go(func() { f.run(outageRate, stop) })
	}
	all := func(i int, change func(*origin.Settings)) time.Time {
		for _, f := range farms {
			f.set(i, change)
		}
		return time.Now()
	}
	well := func(*origin.Settings) {}

	time.Sleep(time.Second) // to learn what is usual
	outage := all(1, func(s *origin.Settings) { s.ErrorRate = 1 })
	time.Sleep(3 * time.Second)
	over := all(1, well)
	answered := func() uint64 { return status(t, s, ours.addresses[1]).Estimates[0].Answered }
	before := answered()
	gatehousetest.Eventually(t, "the recovery", func() bool { return answered() >= before+5 })
	back := time.Now()
	freeze := all(3, func(s *origin.Settings) { s.Freeze = origin.Duration(2 * time.Second) })
	time.Sleep(2500 * time.Millisecond)
	thawed := time.Now()
	close(stop)
	load.Wait()

	errors, sent := ours.during(outage, over)
	control, _ := theirs.during(outage, over)
	t.Logf("black hole for 3 s: %d errors of %d, least_conn %d; back after %v", errors, len(sent), control, back.Sub(over))
	most := control / 4
	if figures {
		most = 10
	}
	if errors > most || control < 20 {
		t.Errorf("errors: %d, want at most %d; least_conn has %d, want far more", errors, most, control)
	}
	if errors, _ := ours.during(over, freeze); errors > 0 {
		t.Errorf("%d errors during the recovery", errors)
	}
	errors, took := ours.during(freeze, thawed)
	_, controlTook := theirs.during(freeze, thawed)
	held, controlHeld := slower(took, 500*time.Millisecond), slower(controlTook, 500*time.Millisecond)
	t.Logf("frozen for 2 s: %d of %d took above 500 ms, least_conn %d; longest %v, %v",
		held, len(took), controlHeld, took[len(took)-1], controlTook[len(controlTook)-1])
	if errors > 0 || figures && held > max(6, controlHeld) {
		t.Errorf("%d errors, %d requests held up, want at most 6, or as many as least_conn's %d", errors, held, controlHeld)
	}
}
