// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotencytest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse-proxy/gatehouse/modules/idempotency"
)

// model is what the contract says of one record, in its own words: it shares no code with any store.
type model struct {
	state  idempotency.State
	print  string
	owner  string
	fence  int64
	answer string
	lapsed bool // Unknown because the lease has ended: still its owner's
	brief  bool // the lease ends while the test waits
}

// checkModel drives a store by random steps, and compares it with the model after each.
func checkModel(t *testing.T, store Store) {
	rapid.Check(t, func(t *rapid.T) {
		m, id := model{}, word()
		owners, prints := []string{word(), word(), word()}, []string{"a", "b"}
		t.Repeat(map[string]func(*rapid.T){
			"claim": func(t *rapid.T) {
				c := idempotency.Claim{
					ID: id, Owner: rapid.SampledFrom(owners).Draw(t, "owner"), Fingerprint: rapid.SampledFrom(prints).Draw(t, "print"),
					About: "x", Pending: rapid.Bool().Draw(t, "pending"), Retry: rapid.Bool().Draw(t, "retry"),
					Lease: leaseOf(rapid.IntRange(0, 4).Draw(t, "lease")), Retention: long,
				}
				rec, err := store.Claim(context.Background(), c)
				if err != nil {
					t.Fatal(err)
				}
				m.claim(c)
				if got, want := describe(rec, c.Fingerprint), m.describe(c.Fingerprint); got != want {
					t.Fatalf("claim %+v gives %s, want %s", c, got, want)
				}
				m.pass()
			},
			"advance": func(t *rapid.T) {
				s := idempotency.Step{
					ID: id, Owner: rapid.SampledFrom(owners).Draw(t, "owner"), Fingerprint: "a", Reason: "tested",
					Act:    idempotency.Act(rapid.IntRange(int(idempotency.Renew), int(idempotency.Doubt)).Draw(t, "act")),
					Answer: []byte(rapid.SampledFrom([]string{"", "yes", "no"}).Draw(t, "answer")),
					Lease:  leaseOf(rapid.IntRange(0, 4).Draw(t, "lease")), Retention: long,
				}
				err := store.Advance(context.Background(), s)
				if want := m.advance(s); !errors.Is(err, want) {
					t.Fatalf("%+v gives %v, want %v", s, err, want)
				}
				m.pass()
			},
			"resolve": func(t *rapid.T) {
				r := idempotency.Resolution{ID: id, Fence: int64(rapid.IntRange(1, 3).Draw(t, "fence")), Retention: long}
				if rapid.Bool().Draw(t, "complete") {
					r.Answer = []byte("resolved")
				}
				err := store.Resolve(context.Background(), r)
				if want := m.resolve(r); !errors.Is(err, want) {
					t.Fatalf("resolving %+v gives %v, want %v", r, err, want)
				}
			},
			"": func(t *rapid.T) {
				rec, err := store.Get(context.Background(), id)
				if err != nil && !errors.Is(err, idempotency.ErrNoRecord) {
					t.Fatal(err)
				}
				if got, want := describe(rec, m.print), m.describe(m.print); got != want {
					t.Fatalf("the record is %s, want %s", got, want)
				}
			},
		})
	})
}

// leaseOf makes one lease in five so brief that it ends before the next step.
func leaseOf(n int) time.Duration {
	if n == 0 {
		return time.Millisecond
	}
	return long
}

// pass lets a brief lease end.
func (m *model) pass() {
	if !m.brief || m.state != idempotency.Sent && m.state != idempotency.Pending {
		return
	}
	time.Sleep(3 * time.Millisecond) // whole milliseconds, of a clock that may just have ticked
	if m.state == idempotency.Sent {
		m.state, m.lapsed = idempotency.Unknown, true
	}
}

func (m *model) claim(c idempotency.Claim) {
	switch {
	case m.state == idempotency.Absent:
		m.hold(c, 1)
	case m.state == idempotency.Complete:
	case m.owner == c.Owner:
		m.hold(c, m.fence)
	case m.print != c.Fingerprint:
	case m.state == idempotency.Pending && m.brief, m.state == idempotency.Unknown && c.Retry:
		m.hold(c, m.fence+1)
	}
}

func (m *model) hold(c idempotency.Claim, fence int64) {
	state := idempotency.Sent
	if c.Pending {
		state = idempotency.Pending
	}
	*m = model{state: state, print: c.Fingerprint, owner: c.Owner, fence: fence, brief: c.Lease < long}
}

func (m *model) advance(s idempotency.Step) error {
	switch {
	case m.state == idempotency.Absent && s.Act == idempotency.Finish:
		*m = model{state: idempotency.Complete, print: s.Fingerprint, owner: s.Owner, fence: 1, answer: string(s.Answer)}
		return nil
	case m.state == idempotency.Absent:
		return nil
	case m.owner != s.Owner:
		return idempotency.ErrFenced
	case m.state == idempotency.Complete:
		return nil
	case s.Act == idempotency.Finish:
		m.state, m.answer = idempotency.Complete, string(s.Answer)
		return nil
	case m.state == idempotency.Unknown && !m.lapsed:
		return nil
	}
	switch s.Act {
	case idempotency.Release:
		*m = model{}
	case idempotency.Doubt:
		m.state, m.lapsed = idempotency.Unknown, false
	default:
		if s.Act == idempotency.Send || m.state == idempotency.Unknown {
			m.state = idempotency.Sent
		}
		m.lapsed, m.brief = false, s.Lease < long
	}
	return nil
}

func (m *model) resolve(r idempotency.Resolution) error {
	switch {
	case m.state == idempotency.Absent:
		return idempotency.ErrNoRecord
	case m.state != idempotency.Unknown || m.fence != r.Fence:
		return idempotency.ErrFenced
	case r.Answer == nil:
		*m = model{}
		return nil
	}
	m.state, m.owner, m.answer = idempotency.Complete, "", string(r.Answer)
	return nil
}

func (m *model) describe(print string) string {
	return describe(idempotency.Record{
		State: m.state, Fingerprint: m.print, Owner: m.owner, Fence: m.fence, Answer: []byte(m.answer),
	}, print)
}

// describe is what a client of the store may rely on. The answer is for whoever shows the fingerprint.
func describe(rec idempotency.Record, print string) string {
	if rec.State == idempotency.Absent {
		return "absent"
	}
	if rec.Fingerprint != print {
		return fmt.Sprint(rec.Fingerprint, rec.Fence) // of a stranger's, the state may be told late
	}
	if rec.State != idempotency.Complete {
		rec.Answer = nil
	}
	return fmt.Sprintf("%s %s %s %d %q", rec.State, rec.Fingerprint, rec.Owner, rec.Fence, rec.Answer)
}
