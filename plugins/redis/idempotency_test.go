// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

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

// BenchmarkIdempotency is what the steps of a record take, beside what a command takes at all: the medians in microseconds.
func BenchmarkIdempotency(b *testing.B) {
	server := gatehousetest.StartRedis(b)
	store := &IdempotencyStore{client: open(b, at(server.Address))}
	driver := goredis.NewClient(&goredis.Options{Addr: server.Address, Protocol: 2})
	defer driver.Close()
	one, keys := NewScript("return 1"), []string{"key"}
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	plain := goredis.NewScript("return 1")
	finish := idempotency.Step{
		Owner: "me", Fingerprint: "p", Act: idempotency.Finish, Answer: make([]byte, 1024), Lease: time.Minute, Retention: time.Hour,
	}
	n := 0
	claim := func() error { n++; _, err := store.Claim(ctx, claimNumber(n)); return err }
	for _, c := range []struct {
		name   string
		step   func() error
		before func() error // not counted
	}{
		{"driver/get", func() error { return driver.Get(ctx, "n").Err() }, nil},
		{"driver/script", func() error { return plain.Run(ctx, driver, keys).Err() }, nil},
		{"batched/script", func() error { _, err := store.client.Run(ctx, one, keys); return err }, nil},
		{"alone/script", func() error { _, err := store.client.RunAlone(ctx, one, keys); return err }, nil},
		{"claim", claim, nil},
		{"finish 1 KiB", func() error { finish.ID = claimNumber(n).ID; return store.Advance(ctx, finish) }, claim},
		{"replay 1 KiB", func() error { _, err := store.Claim(ctx, claimNumber(n)); return err }, nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				if c.before != nil {
					if err := c.before(); err != nil {
						b.Fatal(err)
					}
				}
				begun := time.Now()
				if err := c.step(); err != nil && !errors.Is(err, goredis.Nil) {
					b.Fatal(err)
				}
				took = append(took, time.Since(begun))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2])/float64(time.Microsecond), "p50-us")
		})
	}
}
