// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// tolerance is how much longer than before healthy sinks a client may wait, unless two healthy ones differ by more.
const tolerance = 0.05

// subject is a proxy before a sink of some kind.
type subject struct {
	name  string
	proxy *proxy
	sick  bool            // its sink does not work
	p99s  []time.Duration // of each turn
	waits []time.Duration // of all turns
	took  usage           // at the end
}

// trickle accepts connections, and reads so many bytes a second from each; none for zero.
func trickle(bytes int) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				for buf := make([]byte, max(bytes, 1)); bytes > 0; time.Sleep(time.Second) {
					if _, err := conn.Read(buf); err != nil {
						_ = conn.Close()
						return
					}
				}
				select {} // holds the connection until the program ends
			}()
		}
	}()
	return l, nil
}

// place is where a subject's lines go; nowhere without an address.
type place struct {
	name, address string
	sick          bool
}

// sinks makes a receiver of each kind. The first two are healthy.
func sinks() (places []place, err error) {
	for _, name := range []string{"healthy", "healthy again"} {
		r, err := newReceiver(false)
		if err != nil {
			return nil, err
		}
		places = append(places, place{name: name, address: r.address})
	}
	dead, err := newReceiver(false)
	if err != nil {
		return nil, err
	}
	dead.shut()
	places = append(places, place{"dead", dead.address, true})
	for rate, name := range []string{"accepts, never reads", "reads 1 byte/s"} {
		l, err := trickle(rate)
		if err != nil {
			return nil, err
		}
		places = append(places, place{name, l.Addr().String(), true})
	}
	return append(places, place{name: "(no log)"}), nil
}

func (s settings) runSlow(ctx context.Context, stdout io.Writer) error {
	subjects, err := s.measureSlow(ctx)
	for _, x := range subjects {
		defer x.proxy.end(syscall.SIGKILL)
	}
	rounds := whole(subjects)
	if err = lab.Interrupted(ctx, err); err != nil && (ctx.Err() == nil || rounds == 0) {
		return err
	}
	_, _ = fmt.Fprintf(stdout, "| sink | requests | client p99, median of %d turns | to healthy | p99 of all | memory: RSS, anonymous, most |\n| --- | ---: | ---: | ---: | ---: | ---: |\n", rounds)
	for _, x := range subjects {
		x.took = x.proxy.memory()
		_, _ = fmt.Fprintf(stdout, "| %s | %d | %s | %+.1f %% | %s | %d MiB, %d MiB, %d MiB |\n", x.name, len(x.waits), median(x.p99s),
			100*(x.ratio(subjects[:2])-1), p99(x.waits), x.took.rss>>20, x.took.anonymous>>20, x.took.peak>>20)
	}
	spread := spread(subjects[0], subjects[1])
	_, _ = fmt.Fprintf(stdout, "\nTwo healthy ones differ by %.1f %% (A/A); allowed are %.1f %%.\n", 100*spread, 100*max(spread, tolerance))
	if err != nil {
		return err
	}
	return judgeSlow(subjects, spread)
}

// whole drops turns of a round that not all of them had, and returns how many are left.
func whole(subjects []*subject) int {
	rounds := math.MaxInt
	for _, x := range subjects {
		rounds = min(rounds, len(x.p99s))
	}
	for _, x := range subjects {
		x.p99s = x.p99s[:rounds]
	}
	if len(subjects) == 0 {
		return 0
	}
	return rounds
}

// judgeSlow is an error if clients wait longer for a proxy with a sick sink than for the healthy ones, by more than those differ
// and more than the tolerance; or if a proxy takes too much memory.
func judgeSlow(subjects []*subject, spread float64) error {
	var errs []error
	for _, x := range subjects {
		if over := x.ratio(subjects[:2]) - 1; x.sick && over > max(spread, tolerance) {
			errs = append(errs, fmt.Errorf("%s: clients wait %.1f %% longer", x.name, 100*over))
		}
		if x.took.peak > memoryLimit {
			errs = append(errs, fmt.Errorf("%s: took %d MiB of memory", x.name, x.took.peak>>20))
		}
	}
	return errors.Join(errs...)
}

// ratio is the median, over the rounds, of the p99 to that of the healthy ones in the same round.
func (x *subject) ratio(healthy []*subject) float64 {
	var all []float64
	for i, p := range x.p99s {
		all = append(all, 2*float64(p)/float64(healthy[0].p99s[i]+healthy[1].p99s[i]))
	}
	return median(all)
}

// spread is how much two that should be the same differ: by the median of the rounds.
func spread(a, b *subject) float64 {
	var all []float64
	for i, p := range a.p99s {
		all = append(all, float64(p)/float64(b.p99s[i]))
	}
	return math.Abs(median(all) - 1)
}

func median[T cmp.Ordered](all []T) T {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

func p99(waits []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(waits))
	return sorted[len(sorted)*99/100].Round(time.Microsecond)
}

// measureSlow gives each proxy its turn in each round, beginning with another one each time. Each is reloaded once, which must
// succeed.
func (s settings) measureSlow(ctx context.Context) (subjects []*subject, err error) {
	folder, err := os.MkdirTemp("", "gatehouse-logs-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	places, err := sinks()
	if err != nil {
		return nil, err
	}
	for i, p := range places {
		writer := fmt.Sprintf("ship %s {\n sink http http://%s/\n max_size %%dMiB\n timeout 10s\n }", filepath.Join(folder, "spool"+strconv.Itoa(i)), p.address)
		if p.address == "" {
			writer = "discard\n # %d"
		}
		proxy, err := newProxy("slow"+strconv.Itoa(i), folder, "127.0.0.1:1", writer, 100)
		if err != nil {
			return subjects, err
		}
		subjects = append(subjects, &subject{name: p.name, proxy: proxy, sick: p.sick})
		if err := proxy.reload(); err != nil {
			return subjects, err
		}
	}
	for round := range s.rounds + 1 {
		for i := range subjects {
			x := subjects[(i+round)%len(subjects)]
			if err := x.measure(ctx, s.rate, s.round, round == 0); err != nil {
				return subjects, err
			}
		}
	}
	return subjects, nil
}

// measure is one turn. What the first one measures is not kept: caches are cold, and connections new.
func (x *subject) measure(ctx context.Context, rate int, lasts time.Duration, warming bool) error {
	turn, cancel := context.WithTimeout(ctx, lasts)
	defer cancel()
	l := newLoad(x.proxy.address)
	l.begin(turn, rate)
	l.wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(l.waits) < 100 {
		return fmt.Errorf("%s: %d requests were answered", x.name, len(l.waits))
	}
	if !warming {
		x.waits = append(x.waits, l.waits...)
		x.p99s = append(x.p99s, p99(l.waits))
	}
	return nil
}
