// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

const (
	// drainTimeout bounds the wait for the last lines.
	drainTimeout = 15 * time.Minute
	// interruptedDrain bounds it once the run was interrupted.
	interruptedDrain = 5 * time.Second
	// lineRoom is more than a line takes in the spool, in bytes.
	lineRoom = 1 << 10
	// patience is how many times as long as asked for an outage may last if the machine cannot make the rate.
	patience = 6
	// memoryLimit is what a proxy may take: 64 MiB and two segments of the default size.
	memoryLimit = (64 + 2*16) << 20
)

// arm is a writer with its load.
type arm struct {
	proxy    *proxy
	receiver *receiver
	load     *load
	control  bool
}

// bench is everything that runs.
type bench struct {
	settings
	say  func(string, ...any)
	arms []*arm
	db   *redisServer
}

// measure runs the faults and returns what was lost; if it was interrupted, up to then.
func (s settings) measure(ctx context.Context, say func(string, ...any)) ([]result, error) {
	folder, err := os.MkdirTemp("", "gatehouse-logs-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	b := &bench{settings: s, say: say}
	if b.db, err = startRedis(folder); err != nil {
		return nil, err
	}
	defer b.db.kill()
	defer b.stop()
	if err := b.begin(folder); err != nil {
		return nil, err
	}
	loading, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	for _, a := range b.arms {
		rate := s.rate
		if a.control {
			rate = s.control
		}
		a.load.begin(loading, rate)
	}
	err = b.breakAll(ctx)
	cancel()
	for _, a := range b.arms {
		a.load.wait()
	}
	limit := drainTimeout
	if ctx.Err() != nil {
		limit = interruptedDrain
	} else if err != nil {
		return nil, err
	}
	results, counting := b.count(limit)
	return results, lab.Interrupted(ctx, counting)
}

// breakAll carries out one fault after the other.
func (b *bench) breakAll(ctx context.Context) error {
	for _, fault := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"nothing", func(ctx context.Context) error { pause(ctx, time.Second); return nil }},
		{"receivers away", b.outage},
		{"proxy killed", b.kill},
		{"config reloaded", b.reload},
		{"proxy ended while receivers are away", b.terminate},
		{"Redis killed", b.killRedis},
	} {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b.say("fault: %s", fault.name)
		if err := fault.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", fault.name, err)
		}
	}
	return nil
}

// pause ends early when the run is interrupted.
func pause(ctx context.Context, length time.Duration) { lab.SleepUntil(ctx, time.Now().Add(length)) }

// begin starts the writers and their receivers.
func (b *bench) begin(folder string) error {
	for _, w := range []struct {
		name, writer string
		stream       bool
	}{
		{"ship", "ship " + filepath.Join(folder, "spool") + " {\n sink http http://%[2]s/\n sink redis {\n max_len unlimited\n }\n node n\n batch 5000 1MiB 100ms\n retry 10ms 500ms\n max_size %%dMiB\n }", false},
		{"channel", "channel http://%[2]s/%%d", false},
		{"net", "net %[2]s {\n dial_timeout 1s\n soft_start\n }\n # %%d", true},
	} {
		r, err := newReceiver(w.stream)
		if err != nil {
			return err
		}
		p, err := newProxy(w.name, folder, b.db.address, fmt.Sprintf(w.writer, "", r.address), b.spoolMiB())
		if err != nil {
			return err
		}
		b.arms = append(b.arms, &arm{proxy: p, receiver: r, load: newLoad(p.address), control: w.name != "ship"})
	}
	return nil
}

// spoolMiB is a size for the spool that the outage does not fill, unless another one is asked for.
func (b *bench) spoolMiB() int {
	if b.spool > 0 {
		return b.spool
	}
	return 100 + int(b.settings.outage.Seconds())*b.rate*lineRoom>>20
}

func (b *bench) stop() {
	for _, a := range b.arms {
		a.proxy.end(syscall.SIGKILL)
		a.receiver.shut()
	}
}

func (b *bench) away() { _ = lab.Each(b.arms, func(a *arm) error { a.receiver.shut(); return nil }) }

func (b *bench) back() error {
	return lab.Each(b.arms, func(a *arm) error { return a.receiver.open() })
}

// outage has the receivers away for that long, and until as many lines are waiting as the rate makes in that time.
func (b *bench) outage(ctx context.Context) error {
	b.away()
	ship := b.arms[0]
	before, begun := ship.load.count(), time.Now()
	wanted := int(b.settings.outage.Seconds() * float64(b.rate))
	for ctx.Err() == nil && (time.Since(begun) < b.settings.outage || ship.load.count()-before < wanted) {
		if time.Since(begun) > patience*b.settings.outage+time.Minute {
			return fmt.Errorf("%d lines were logged in %s, not %d", ship.load.count()-before, time.Since(begun), wanted)
		}
		pause(ctx, 100*time.Millisecond)
	}
	sinks, err := b.counts()
	b.say("after %s: %d lines were logged, %d are pending, %v", time.Since(begun).Round(time.Second), ship.load.count()-before, pending(sinks), ship.proxy.memory())
	return errors.Join(err, b.back())
}

func (b *bench) kill(ctx context.Context) error {
	return lab.Each(b.arms, func(a *arm) error {
		for range b.kills {
			if pause(ctx, 300*time.Millisecond); ctx.Err() != nil {
				return nil
			}
			a.proxy.end(syscall.SIGKILL)
			if err := a.proxy.start(); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *bench) reload(ctx context.Context) error {
	return lab.Each(b.arms, func(a *arm) error {
		for range b.reloads {
			if err := a.proxy.reload(); err != nil {
				return err
			}
			if pause(ctx, 20*time.Millisecond); ctx.Err() != nil {
				return nil
			}
		}
		return nil
	})
}

func (b *bench) terminate(ctx context.Context) error {
	b.away()
	pause(ctx, time.Second)
	// Redis stands still for a while: it is to take its last lines when the other receiver has long been given up.
	if err := b.db.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	resumed := make(chan error, 1)
	time.AfterFunc(time.Second, func() { resumed <- b.db.signal(syscall.SIGCONT) })
	err := lab.Each(b.arms, func(a *arm) error {
		a.proxy.end(syscall.SIGTERM)
		return a.proxy.start()
	})
	pause(ctx, time.Second)
	return errors.Join(err, <-resumed, b.back())
}

func (b *bench) killRedis(ctx context.Context) error {
	b.db.kill()
	pause(ctx, time.Second)
	if err := b.db.start(); err != nil {
		return err
	}
	pause(ctx, time.Second)
	return nil
}

// count waits until nothing is pending, at most for so long, and compares.
func (b *bench) count(limit time.Duration) ([]result, error) {
	counted, left := b.drain(limit)
	dropped := map[string]uint64{} // by sink; dead letters too, as nothing refuses a line here
	for _, sink := range counted {
		dropped[sink.Name] = sink.Dropped + sink.DeadLettered
	}
	var results []result
	for _, a := range b.arms {
		received := a.load.received()
		lost, twice := a.receiver.compare(received)
		r := result{name: a.proxy.name, received: len(received), lost: lost, twice: twice, control: a.control, peak: a.proxy.memory().peak}
		if a.control {
			results = append(results, r)
			continue
		}
		r.dropped = dropped["http"]
		var lines int
		r.repeats, lines = a.receiver.repeats()
		r.stray, r.faults = twice-lines, b.kills+3 // two outages, and the end in the second one
		results = append(results, r)
		entries, err := b.db.lines("gatehouse:1:logs:n")
		if err != nil {
			return nil, err
		}
		lost, twice = entries.compare(received)
		results = append(results, result{name: "ship, to Redis", received: len(received), lost: lost, twice: twice, stray: twice, dropped: dropped["redis"], peak: r.peak})
	}
	return results, left
}

// drain waits until the spool is empty, and returns what the proxy counts then; the controls get as long.
func (b *bench) drain(limit time.Duration) ([]sinkCounts, error) {
	time.Sleep(3 * time.Second)
	for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		sinks, err := b.counts()
		if err == nil && pending(sinks) == 0 {
			for _, sink := range sinks {
				b.say("the proxy counts: %+v", sink)
			}
			return sinks, nil
		}
		if time.Now().After(deadline) {
			return sinks, errors.Join(fmt.Errorf("%d lines are still pending", pending(sinks)), err)
		}
	}
}

// sinkCounts is what the proxy counts for one sink.
type sinkCounts struct {
	Name                                  string
	Accepted, Delivered, Dropped, Pending uint64
	DeadLettered                          uint64 `json:"dead_lettered"`
}

func pending(sinks []sinkCounts) (sum uint64) {
	for _, sink := range sinks {
		sum += sink.Pending
	}
	return sum
}

// counts asks the proxy, and checks that no line is unaccounted for.
func (b *bench) counts() ([]sinkCounts, error) {
	answer, err := http.Get("http://" + b.arms[0].proxy.admin + "/gatehouse/logs")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var spools []struct{ Sinks []sinkCounts }
	if err := json.NewDecoder(answer.Body).Decode(&spools); err != nil || len(spools) != 1 {
		return nil, fmt.Errorf("the status is of %d spools: %w", len(spools), err)
	}
	for _, sink := range spools[0].Sinks {
		if sink.Accepted != sink.Delivered+sink.Dropped+sink.DeadLettered+sink.Pending {
			return nil, fmt.Errorf("the sum is wrong: %+v", sink)
		}
	}
	if len(spools[0].Sinks) != 2 {
		return nil, fmt.Errorf("%d sinks run", len(spools[0].Sinks))
	}
	return spools[0].Sinks, nil
}

// lines reads a stream.
func (r *redisServer) lines(key string) (*tally, error) {
	client := goredis.NewClient(&goredis.Options{Addr: r.address})
	defer client.Close()
	t := &tally{seen: map[string]int{}}
	for from := "-"; ; {
		entries, err := client.XRangeN(context.Background(), key, from, "+", 10_000).Result()
		if err != nil || len(entries) == 0 {
			return t, err
		}
		for _, entry := range entries {
			line, _ := entry.Values["line"].(string)
			t.add([]byte(line))
		}
		from = "(" + entries[len(entries)-1].ID
	}
}
