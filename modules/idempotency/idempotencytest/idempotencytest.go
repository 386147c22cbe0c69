// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package idempotencytest holds the tests that every store of idempotency records must pass: its contract by cases, against a
// model, and under concurrency.
package idempotencytest

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/idempotency"
)

const (
	long  = time.Minute
	short = 30 * time.Millisecond
	// soon bounds what must happen when a short lease has ended, on a machine that may be busy.
	soon = 30 * time.Second
)

// Store is what the suite tests: both roles of a store.
type Store interface {
	idempotency.Store
	idempotency.Ledger
}

// Run runs the suite. newStore returns an empty store, or one whose other records it leaves alone; it may be called several
// times.
func Run(t *testing.T, newStore func(t testing.TB) Store) {
	for name, test := range map[string]func(*testing.T, *bench){
		"claim":            testClaim,
		"claim repeated":   testClaimRepeated,
		"pending":          testPending,
		"lease":            testLease,
		"renewal":          testRenewal,
		"late finish":      testLateFinish,
		"complete":         testComplete,
		"release":          testRelease,
		"doubt":            testDoubt,
		"retry":            testRetry,
		"fenced":           testFenced,
		"lost record":      testLostRecord,
		"retention":        testRetention,
		"resolve":          testResolve,
		"list":             testList,
		"binary answer":    testBinaryAnswer,
		"one claim wins":   testOneClaimWins,
		"one step a claim": testConcurrentSteps,
	} {
		t.Run(name, func(t *testing.T) { test(t, &bench{TB: t, store: newStore(t)}) })
	}
	t.Run("model", func(t *testing.T) { checkModel(t, newStore(t)) })
	t.Run("linearizable", func(t *testing.T) { CheckLinearizable(t, newStore(t), 20_000) })
}

// bench is a store under test, with steps that fail the test.
type bench struct {
	testing.TB
	store Store
}

// word returns random hexadecimal digits, as IDs and owners are.
func word() string {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	return hex.EncodeToString(nonce[:])
}

func newClaim() idempotency.Claim {
	return idempotency.Claim{
		ID: word(), Owner: word(), Fingerprint: "print", About: "POST shop.example/orders", Lease: long, Retention: 2 * long,
	}
}

// by is the claim of another owner.
func by(c idempotency.Claim) idempotency.Claim {
	c.Owner = word()
	return c
}

func step(c idempotency.Claim, act idempotency.Act) idempotency.Step {
	return idempotency.Step{
		ID: c.ID, Owner: c.Owner, Fingerprint: c.Fingerprint, About: c.About, Act: act,
		Answer: []byte("answer of " + c.Owner), Reason: "tested", Lease: c.Lease, Retention: c.Retention,
	}
}

func (b *bench) claim(c idempotency.Claim) idempotency.Record {
	b.Helper()
	rec, err := b.store.Claim(b.Context(), c)
	if err != nil {
		b.Fatalf("claiming: %v", err)
	}
	return rec
}

// held claims, and fails unless the claim holds.
func (b *bench) held(c idempotency.Claim, fence int64) idempotency.Record {
	b.Helper()
	rec := b.claim(c)
	if !rec.HeldBy(c.Owner) || rec.Fence != fence {
		b.Fatalf("the claim does not hold with fence %d: %+v", fence, rec)
	}
	return rec
}

// refused claims, and fails unless it finds the state.
func (b *bench) refused(c idempotency.Claim, want idempotency.State) idempotency.Record {
	b.Helper()
	rec := b.claim(c)
	if rec.HeldBy(c.Owner) || rec.State != want {
		b.Fatalf("the claim found %s, held %v; want %s", rec.State, rec.HeldBy(c.Owner), want)
	}
	return rec
}

func (b *bench) advance(s idempotency.Step, want error) {
	b.Helper()
	if err := b.store.Advance(b.Context(), s); !errors.Is(err, want) {
		b.Fatalf("%s: got %v, want %v", s.Act, err, want)
	}
}

// state reads the record's state; Absent if there is none.
func (b *bench) state(id string) idempotency.State {
	b.Helper()
	rec, err := b.store.Get(b.Context(), id)
	if errors.Is(err, idempotency.ErrNoRecord) {
		return idempotency.Absent
	}
	if err != nil {
		b.Fatalf("reading a record: %v", err)
	}
	return rec.State
}

func (b *bench) is(id string, want idempotency.State) {
	b.Helper()
	if got := b.state(id); got != want {
		b.Fatalf("the record is %s, want %s", got, want)
	}
}

// becomes waits for a state that comes with time.
func (b *bench) becomes(id string, want idempotency.State) {
	b.Helper()
	for deadline := time.Now().Add(soon); b.state(id) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("the record is %s, and does not become %s", b.state(id), want)
		}
	}
}

func testClaim(_ *testing.T, b *bench) {
	c := newClaim()
	rec := b.held(c, 1)
	if rec.ID != c.ID || rec.Fingerprint != c.Fingerprint || rec.About != c.About || rec.State != idempotency.Sent {
		b.Fatalf("the record is not the claim's: %+v", rec)
	}
	if rec.Created.IsZero() || !rec.LeaseEnds.After(rec.Created) || !rec.Expires.After(rec.LeaseEnds) {
		b.Fatalf("times are out of order: %+v", rec)
	}
	if other := b.refused(by(c), idempotency.Sent); other.Owner != c.Owner || other.Fingerprint != c.Fingerprint {
		b.Fatalf("another claim found %+v", other)
	}
	b.held(newClaim(), 1)
}

func testClaimRepeated(_ *testing.T, b *bench) {
	c := newClaim()
	b.held(c, 1)
	b.held(c, 1)
	c.Lease = short
	b.held(c, 1)
	b.becomes(c.ID, idempotency.Unknown)
	c.Lease = long
	b.held(c, 1) // it knows that it has sent nothing
	b.advance(step(c, idempotency.Finish), nil)
	if rec := b.refused(c, idempotency.Complete); rec.Owner != c.Owner {
		b.Fatalf("the record changed its owner: %+v", rec)
	}
}

func testPending(_ *testing.T, b *bench) {
	c := newClaim()
	c.Pending, c.Lease = true, short
	if rec := b.held(c, 1); rec.State != idempotency.Pending {
		b.Fatalf("the claim is %s", rec.State)
	}
	other := by(c)
	other.Lease = long
	for deadline := time.Now().Add(soon); !b.claim(other).HeldBy(other.Owner); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("a pending claim is not taken over when its lease has ended")
		}
	}
	b.held(other, 2)
	b.advance(step(c, idempotency.Send), idempotency.ErrFenced)
	b.advance(step(other, idempotency.Send), nil)
	b.is(c.ID, idempotency.Sent)
	b.advance(step(other, idempotency.Send), nil)
}

func testLease(_ *testing.T, b *bench) {
	c := newClaim()
	c.Lease = short
	b.held(c, 1)
	b.becomes(c.ID, idempotency.Unknown)
	if rec := b.refused(by(c), idempotency.Unknown); rec.Reason != "lease_expired" || rec.Fence != 1 {
		b.Fatalf("the record is %+v", rec)
	}
}

func testRenewal(_ *testing.T, b *bench) {
	c := newClaim()
	c.Lease = short
	b.held(c, 1)
	c.Lease = long
	b.advance(step(c, idempotency.Renew), nil)
	time.Sleep(2 * short)
	b.is(c.ID, idempotency.Sent)

	late := newClaim()
	late.Lease = short
	b.held(late, 1)
	b.becomes(late.ID, idempotency.Unknown)
	b.refused(by(late), idempotency.Unknown)
	late.Lease = long
	b.advance(step(late, idempotency.Renew), nil) // its owner is alive after all
	b.refused(by(late), idempotency.Sent)
}

func testLateFinish(_ *testing.T, b *bench) {
	c := newClaim()
	c.Lease = short
	b.held(c, 1)
	b.becomes(c.ID, idempotency.Unknown)
	b.refused(by(c), idempotency.Unknown)
	b.advance(step(c, idempotency.Finish), nil)
	b.refused(by(c), idempotency.Complete)
}

func testComplete(_ *testing.T, b *bench) {
	c := newClaim()
	b.held(c, 1)
	b.advance(step(c, idempotency.Finish), nil)
	for _, act := range []idempotency.Act{idempotency.Finish, idempotency.Renew, idempotency.Send, idempotency.Release, idempotency.Doubt} {
		repeated := step(c, act)
		repeated.Answer = []byte("another")
		b.advance(repeated, nil)
	}
	retry := by(c)
	retry.Retry = true
	if rec := b.refused(retry, idempotency.Complete); string(rec.Answer) != "answer of "+c.Owner || rec.Reason != "" {
		b.Fatalf("the record changed: %+v", rec)
	}
	stranger := by(c)
	stranger.Fingerprint = "another"
	if rec := b.refused(stranger, idempotency.Complete); rec.Fingerprint != c.Fingerprint {
		b.Fatalf("the record changed: %+v", rec)
	}
}

func testRelease(_ *testing.T, b *bench) {
	c := newClaim()
	b.held(c, 1)
	b.advance(step(c, idempotency.Release), nil)
	b.is(c.ID, idempotency.Absent)
	b.advance(step(c, idempotency.Release), nil)
	b.advance(step(c, idempotency.Renew), nil)
	b.is(c.ID, idempotency.Absent)
	other := by(c)
	other.Fingerprint = "another"
	b.held(other, 1)
	b.advance(step(c, idempotency.Release), idempotency.ErrFenced)
	b.is(c.ID, idempotency.Sent)
}

func testDoubt(_ *testing.T, b *bench) {
	c := newClaim()
	b.held(c, 1)
	b.advance(step(c, idempotency.Doubt), nil)
	for _, act := range []idempotency.Act{idempotency.Renew, idempotency.Doubt, idempotency.Release} {
		b.advance(step(c, act), nil)
		if rec := b.refused(by(c), idempotency.Unknown); rec.Reason != "tested" {
			b.Fatalf("after %s the record is %+v", act, rec)
		}
	}
	b.advance(step(c, idempotency.Finish), nil)
	b.is(c.ID, idempotency.Complete)
}

func testRetry(_ *testing.T, b *bench) {
	c := newClaim()
	b.held(c, 1)
	b.advance(step(c, idempotency.Doubt), nil)
	retry := by(c)
	retry.Retry = true
	stranger := retry
	stranger.Fingerprint = "another"
	b.refused(stranger, idempotency.Unknown)
	b.held(retry, 2)
	b.advance(step(c, idempotency.Finish), idempotency.ErrFenced)
	b.refused(by(retry), idempotency.Sent)
}

func testFenced(_ *testing.T, b *bench) {
	c := newClaim()
	b.held(c, 1)
	for _, act := range []idempotency.Act{idempotency.Renew, idempotency.Send, idempotency.Finish, idempotency.Release, idempotency.Doubt} {
		b.advance(step(by(c), act), idempotency.ErrFenced)
	}
	b.held(c, 1)
}

func testLostRecord(_ *testing.T, b *bench) {
	c := newClaim()
	b.advance(step(c, idempotency.Doubt), nil)
	b.is(c.ID, idempotency.Absent)
	b.advance(step(c, idempotency.Finish), nil)
	rec := b.refused(by(c), idempotency.Complete)
	if string(rec.Answer) != "answer of "+c.Owner || rec.Fingerprint != c.Fingerprint || rec.About != c.About {
		b.Fatalf("the record is %+v", rec)
	}
}

func testRetention(_ *testing.T, b *bench) {
	c := newClaim()
	b.held(c, 1)
	last := step(c, idempotency.Finish)
	last.Retention = short
	b.advance(last, nil)
	b.becomes(c.ID, idempotency.Absent)
	b.held(by(c), 1)
}

func testResolve(_ *testing.T, b *bench) {
	resolve := func(r idempotency.Resolution, want error) {
		b.Helper()
		if err := b.store.Resolve(b.Context(), r); !errors.Is(err, want) {
			b.Fatalf("resolving: got %v, want %v", err, want)
		}
	}
	c := newClaim()
	resolution := idempotency.Resolution{ID: c.ID, Fence: 1, Retention: long}
	resolve(resolution, idempotency.ErrNoRecord)
	b.held(c, 1)
	resolve(resolution, idempotency.ErrFenced)
	b.advance(step(c, idempotency.Doubt), nil)
	resolution.Fence = 2
	resolve(resolution, idempotency.ErrFenced)
	resolution.Fence = 1
	resolve(resolution, nil)
	b.is(c.ID, idempotency.Absent)

	c.Lease = short
	b.held(c, 1)
	b.becomes(c.ID, idempotency.Unknown)
	resolution.Answer = []byte("an operator's")
	resolve(resolution, nil)
	if rec := b.refused(by(c), idempotency.Complete); string(rec.Answer) != "an operator's" || rec.Owner != "" {
		b.Fatalf("the record is %+v", rec)
	}
	b.advance(step(c, idempotency.Finish), idempotency.ErrFenced)
	resolve(resolution, idempotency.ErrFenced)
}

func testList(_ *testing.T, b *bench) {
	want := map[string]bool{}
	for range 25 {
		c := newClaim()
		b.held(c, 1)
		b.advance(step(c, idempotency.Doubt), nil)
		want[c.ID] = true
	}
	sent := newClaim()
	b.held(sent, 1)
	list := func(state idempotency.State) (ids []string) {
		for cursor, first := "", true; first || cursor != ""; first = false {
			records, next, err := b.store.List(b.Context(), state, cursor, 4)
			if err != nil {
				b.Fatal(err)
			}
			for _, rec := range records {
				if len(rec.Answer) > 0 || state != idempotency.Absent && rec.State != state {
					b.Errorf("listed %+v", rec)
				}
				ids = append(ids, rec.ID)
			}
			cursor = next
		}
		return ids
	}
	found := list(idempotency.Unknown)
	for id := range want {
		if !slices.Contains(found, id) {
			b.Errorf("%s is not listed", id)
		}
	}
	if slices.Contains(found, sent.ID) || !slices.Contains(list(idempotency.Absent), sent.ID) {
		b.Error("the record that is sent is listed as unknown, or not as any")
	}
	if _, _, err := b.store.List(b.Context(), idempotency.Unknown, "no cursor of yours \x00", 4); err == nil {
		b.Log("the store takes any cursor")
	}
}

func testBinaryAnswer(_ *testing.T, b *bench) {
	c := newClaim()
	b.held(c, 1)
	last := step(c, idempotency.Finish)
	last.Answer = make([]byte, 300<<10)
	_, _ = rand.Read(last.Answer) // never fails
	b.advance(last, nil)
	want := slices.Clone(last.Answer)
	clear(last.Answer) // the store has its own
	if rec := b.claim(by(c)); !slices.Equal(rec.Answer, want) {
		b.Fatal("the answer is not what was stored")
	}
}

func testOneClaimWins(t *testing.T, b *bench) {
	for range 50 {
		c := newClaim()
		var wins atomic.Int32
		var group sync.WaitGroup
		for range 16 {
			mine := by(c)
			group.Go(func() {
				rec, err := b.store.Claim(t.Context(), mine)
				if err != nil {
					t.Error(err)
				}
				if rec.HeldBy(mine.Owner) {
					wins.Add(1)
				}
			})
		}
		if group.Wait(); wins.Load() != 1 {
			t.Fatalf("%d claims hold", wins.Load())
		}
	}
}

// An owner's last steps, in any order and repeated, leave what the first one that counts left.
func testConcurrentSteps(t *testing.T, b *bench) {
	for range 50 {
		c := newClaim()
		b.held(c, 1)
		var group sync.WaitGroup
		for _, act := range []idempotency.Act{idempotency.Renew, idempotency.Finish, idempotency.Renew, idempotency.Doubt, idempotency.Finish} {
			group.Go(func() {
				if err := b.store.Advance(t.Context(), step(c, act)); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		b.is(c.ID, idempotency.Complete)
	}
}
