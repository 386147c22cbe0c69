// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/idempotency"
	"github.com/gatehouse-proxy/gatehouse/modules/idempotency/idempotencytest"
)

func newIdempotencyStore(t testing.TB) *IdempotencyStore {
	t.Helper()
	return gatehousetest.Provision(t, new(IdempotencyStore))
}

func TestIdempotencyStore(t *testing.T) {
	idempotencytest.Run(t, func(t testing.TB) idempotencytest.Store { return newIdempotencyStore(t) })
}

// A million operations: `go test -run Million ./plugins/memory`.
func TestIdempotencyMillionOperationsAreLinearizable(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some 20 s")
	}
	idempotencytest.CheckLinearizable(t, newIdempotencyStore(t), 1_000_000)
}

func claimOf(n int) idempotency.Claim {
	return idempotency.Claim{
		ID: fmt.Sprintf("%032x", n), Owner: fmt.Sprint(n), Fingerprint: "p", Lease: time.Second, Retention: time.Minute,
	}
}

// A full table takes nothing more, and keeps what it has, until something expires.
func TestIdempotencyFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newRecordTable()
		for n := range 10 {
			if _, err := table.claim(claimOf(n), 10, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := table.claim(claimOf(10), 10, 1<<20); !errors.Is(err, idempotency.ErrFull) {
			t.Fatalf("the eleventh record of ten: %v", err)
		}
		if rec, err := table.claim(claimOf(3), 10, 1<<20); err != nil || !rec.HeldBy("3") {
			t.Fatalf("a record of a full table: %+v, %v", rec, err)
		}
		time.Sleep(time.Minute)
		if _, err := table.claim(claimOf(10), 10, 1<<20); err != nil {
			t.Fatalf("after the retention: %v", err)
		}
		if len(table.records) != 1 || len(table.ends) != 1 || table.size != sizeOf(table.ends[0]) {
			t.Fatalf("%d records, %d expiries, %d bytes", len(table.records), len(table.ends), table.size)
		}
	})
}

func TestIdempotencySize(t *testing.T) {
	table := newRecordTable()
	claim := claimOf(1)
	if _, err := table.claim(claim, 10, 2000); err != nil {
		t.Fatal(err)
	}
	err := table.advance(idempotency.Step{
		ID: claim.ID, Owner: claim.Owner, Act: idempotency.Finish, Answer: make([]byte, 3000), Retention: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.claim(claimOf(2), 10, 2000); !errors.Is(err, idempotency.ErrFull) {
		t.Fatalf("a record beyond max_size: %v", err)
	}
}

func BenchmarkIdempotencyClaimAndFinish(b *testing.B) {
	table := newRecordTable()
	for n := 0; b.Loop(); n++ {
		claim := claimOf(n)
		claim.Retention = time.Millisecond
		if _, err := table.claim(claim, 1<<30, 1<<40); err != nil {
			b.Fatal(err)
		}
		if err := table.advance(idempotency.Step{ID: claim.ID, Owner: claim.Owner, Act: idempotency.Finish, Retention: time.Millisecond}); err != nil {
			b.Fatal(err)
		}
	}
}
