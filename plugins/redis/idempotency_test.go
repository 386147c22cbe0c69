// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/idempotency"
	"github.com/gatehouse-proxy/gatehouse/modules/idempotency/idempotencytest"
)

func TestIdempotencyStore(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	idempotencytest.Run(t, func(t testing.TB) idempotencytest.Store {
		return &IdempotencyStore{client: open(t, at(server.Address))}
	})
}

// Records are independent, so a cluster spreads them; a listing goes through its masters.
func TestIdempotencyStoreInCluster(t *testing.T) {
	cluster := gatehousetest.StartRedisCluster(t)
	client := open(t, &ClientConfig{Cluster: cluster.Addresses(), Timeout: at("").Timeout, Probe: at("").Probe})
	idempotencytest.Run(t, func(testing.TB) idempotencytest.Store { return &IdempotencyStore{client: client} })
}

// A million operations: `go test -run Million ./plugins/redis`.
func TestIdempotencyMillionOperationsAreLinearizable(t *testing.T) {
	if testing.Short() {
		t.Skip("takes about a minute")
	}
	server := gatehousetest.StartRedis(t)
	idempotencytest.CheckLinearizable(t, &IdempotencyStore{client: open(t, at(server.Address))}, sized(1_000_000, 50_000))
}

func claimNumber(n int) idempotency.Claim {
	return idempotency.Claim{
		ID: fmt.Sprintf("%032x", n), Owner: "me", Fingerprint: "p", Lease: time.Minute, Retention: time.Hour,
	}
}

// What an unknown version wrote is neither replayed nor overwritten.
func TestIdempotencyForeignRecords(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	store := &IdempotencyStore{client: open(t, at(server.Address))}
	for n, fields := range [][]any{
		{"v", "2", "state", "complete", "print", "p", "answer", "x"},
		{"state", "complete", "print", "p"},
		{"v", "1", "state", "later", "print", "p", "owner", "x", "fence", "1", "lease", "0", "created", "0", "about", ""},
		{"v", "1", "state", "complete", "print", "p", "owner", "x", "fence", "x", "lease", "0", "created", "0", "about", ""},
	} {
		claim := claimNumber(n)
		key := store.recordPrefix() + claim.ID
		ask(t, store.client, append([]any{"HSET", key}, fields...)...)
		rec, err := store.Claim(t.Context(), claim)
		if err != nil || rec.State != idempotency.Foreign {
			t.Errorf("%v: %+v, %v", fields, rec, err)
		}
		if got := ask(t, store.client, "HLEN", key); got != fmt.Sprint(len(fields)/2) {
			t.Errorf("%v: the record was changed", fields)
		}
	}
	ask(t, store.client, "SET", store.recordPrefix()+claimNumber(99).ID, "text")
	if rec, err := store.Claim(t.Context(), claimNumber(99)); err == nil {
		t.Errorf("a key of another type: %+v", rec)
	}
}

// A server that is gone is an error that is not uncertain; one that stalls is uncertain.
func TestIdempotencyStoreAway(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	store := &IdempotencyStore{client: open(t, strict(server.Address))}
	if _, err := store.Claim(t.Context(), claimNumber(1)); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	_, err := store.Claim(t.Context(), claimNumber(2))
	if !errors.Is(err, idempotency.ErrUncertain) {
		t.Errorf("a server that stalls: %v", err)
	}
	server.Kill()
	eventually(t, "the breaker opens", func() bool { return !store.client.Healthy() })
	if _, err := store.Claim(t.Context(), claimNumber(3)); err == nil || errors.Is(err, idempotency.ErrUncertain) {
		t.Errorf("a server that is gone: %v", err)
	}
}

// Keys in Redis are one prefix and the ID, and a record needs one key only.
func TestIdempotencyKeys(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	store := &IdempotencyStore{client: open(t, at(server.Address))}
	if _, err := store.Claim(t.Context(), claimNumber(1)); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, store.client, "KEYS", "*"); got != "["+store.client.Key("idempotency", claimNumber(1).ID)+"]" {
		t.Errorf("keys: %s", got)
	}
}

// What the scripts return is decoded without a panic, whatever it is.
func FuzzIdempotencyRecord(f *testing.F) {
	f.Add("sent", "p", "o", "1", "2", "3", "a", "", "5", "x")
	f.Add("later", "", "", "x", "", "-1", "", "", "", "")
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g, h, i, j, k string) {
		rec, err := readRecord("id", []any{a, b, c, d, e, g, h, i, j, k})
		if err != nil {
			t.Fatal(err)
		}
		if known := strings.Contains(" pending sent complete unknown ", " "+a+" "); !known && rec.State != idempotency.Foreign {
			t.Fatalf("state %q is read as %s", a, rec.State)
		}
	})
}

func BenchmarkIdempotency(b *testing.B) {
	server := gatehousetest.StartRedis(b)
	store := &IdempotencyStore{client: open(b, at(server.Address))}
	answer := make([]byte, 1024)
	b.Run("claim", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			if _, err := store.Claim(b.Context(), claimNumber(n)); err != nil {
				b.Fatal(err)
			}
		}
	})
	finish := idempotency.Step{
		ID: claimNumber(0).ID, Owner: "me", Act: idempotency.Finish, Answer: answer, Lease: time.Minute, Retention: time.Hour,
	}
	b.Run("finish 1 KiB", func(b *testing.B) {
		for b.Loop() {
			if err := store.Advance(b.Context(), finish); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("replay 1 KiB", func(b *testing.B) {
		for b.Loop() {
			if rec, err := store.Claim(b.Context(), claimNumber(0)); err != nil || rec.State != idempotency.Complete {
				b.Fatal(rec.State, err)
			}
		}
	})
}
