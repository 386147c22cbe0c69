// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/logship"
)

// patience bounds every wait.
const patience = 20 * time.Second

func init() { caddy.RegisterModule(testSink{}) }

// receivers are the far ends of test sinks, by name: they outlive configs.
var receivers sync.Map

// receiver is what a sink of a test sends to.
type receiver struct {
	mu      sync.Mutex
	err     error         // what Send returns
	poison  string        // lines that hold it are refused, if not empty
	stalled chan struct{} // Send waits for it, or its context, if not nil
	lines   []string      // as delivered
	ids     []string      // of every batch, taken or not
	sends   int
	closed  int
}

var errAway = errors.New("the sink is away")

func newReceiver(t *testing.T, name string) *receiver {
	t.Helper()
	r := &receiver{}
	receivers.Store(name, r)
	t.Cleanup(func() { receivers.Delete(name) })
	return r
}

func (r *receiver) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *receiver) send(ctx context.Context, batch *logship.Batch) error {
	r.mu.Lock()
	stalled := r.stalled
	r.sends++
	r.ids = append(r.ids, batch.ID())
	r.mu.Unlock()
	if stalled != nil {
		select {
		case <-stalled:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	var taken []string
	for i := range batch.Lines {
		line := string(batch.AppendJSON(nil, i))
		if r.poison != "" && strings.Contains(line, r.poison) {
			return &logship.Rejection{Err: errors.New("poison")}
		}
		taken = append(taken, line)
	}
	r.lines = append(r.lines, taken...)
	return nil
}

// verify tells what has arrived.
func (r *receiver) verify(t *testing.T) logship.Report {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var v logship.Verifier
	for _, line := range r.lines {
		if err := v.Add([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	return v.Report()
}

// await waits until lines have arrived, and checks that none is missing or came twice.
func (r *receiver) await(t *testing.T, lines uint64) {
	t.Helper()
	gatehousetest.Eventually(t, "the lines arrive", func() bool { return r.verify(t).Lines >= lines })
	if got := r.verify(t); got.Lines != lines || got.Missing+got.Duplicates+got.Unreadable+got.Disordered > 0 {
		t.Errorf("what has arrived is %+v, want %d lines", got, lines)
	}
}

// testSink is a sink whose receiver is in this process.
type testSink struct {
	To string `json:"to,omitempty"`
}

func (testSink) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: logship.Namespace + ".testing", New: func() caddy.Module { return new(testSink) }}
}

func (s *testSink) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.NextArg()
	s.To = d.Val()
	return nil
}

func (s *testSink) Cleanup() error {
	if r, ok := receivers.Load(s.To); ok {
		r.(*receiver).set(func() { r.(*receiver).closed++ })
	}
	return nil
}

func (s *testSink) Send(ctx context.Context, batch *logship.Batch) error {
	r, ok := receivers.Load(s.To)
	if !ok {
		return errAway
	}
	return r.(*receiver).send(ctx, batch)
}

// site is a Caddyfile that logs to a spool.
func site(dir string, options ...string) string {
	return fmt.Sprintf(":8080 {\n log {\n output ship %s {\n batch 100 1MiB 10ms\n retry 1ms 20ms\n flush 2s\n %s\n }\n }\n respond ok\n}",
		dir, strings.Join(options, "\n"))
}

// status asks the admin endpoint for the only spool.
func status(t *testing.T, s *gatehousetest.Server) logship.Status {
	t.Helper()
	answer := s.Admin("GET", "/gatehouse/logs", "")
	var all []logship.Status
	if err := json.Unmarshal([]byte(answer.Body), &all); err != nil || len(all) != 1 {
		t.Fatalf("GET /gatehouse/logs: %d %s (%v)", answer.StatusCode, answer.Body, err)
	}
	for _, sink := range all[0].Sinks {
		if sink.Accepted != sink.Delivered+sink.Dropped+sink.DeadLettered+sink.Pending {
			t.Fatalf("the sum is wrong: %+v", sink)
		}
	}
	return all[0]
}

// requests makes n of them.
func requests(t *testing.T, s *gatehousetest.Server, n int) {
	t.Helper()
	for i := range n {
		if got := s.Get(fmt.Sprintf("/%d", i)); got.StatusCode != 200 {
			t.Fatalf("%d %s", got.StatusCode, got.Body)
		}
	}
}
