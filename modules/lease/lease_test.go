// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package lease_test

import (
	"errors"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/lease"
)

type counter struct{ destroyed *int }

func (c *counter) Destruct() error { *c.destroyed++; return nil }

type other struct{}

func (*other) Destruct() error { return nil }

func take(t *testing.T, pool *caddy.UsagePool, destroyed *int) (*counter, lease.Lease) {
	t.Helper()
	v, l, err := lease.Take(pool, "key", func() (*counter, error) { return &counter{destroyed}, nil })
	if err != nil {
		t.Fatal(err)
	}
	return v, l
}

func TestZeroLeaseReleasesNothing(t *testing.T) {
	pool, destroyed := caddy.NewUsagePool(), 0
	_, running := take(t, pool, &destroyed)

	var rejected lease.Lease // of a config whose Provision failed before Take
	if err := rejected.Release(); err != nil {
		t.Fatal(err)
	}
	if destroyed != 0 || !running.Held() {
		t.Fatal("a lease that held nothing destroyed what another one holds")
	}
}

func TestValueLivesUntilTheLastRelease(t *testing.T) {
	pool, destroyed := caddy.NewUsagePool(), 0
	a, first := take(t, pool, &destroyed)
	b, second := take(t, pool, &destroyed)
	if a != b {
		t.Fatal("two leases of one key hold different values")
	}
	for range 2 { // the second call must not count twice
		if err := first.Release(); err != nil {
			t.Fatal(err)
		}
	}
	if destroyed != 0 {
		t.Fatal("destroyed while still referred to")
	}
	if err := second.Release(); err != nil || destroyed != 1 {
		t.Fatalf("after the last release: destroyed %d times, err %v", destroyed, err)
	}
}

func TestTakeErrors(t *testing.T) {
	pool, destroyed := caddy.NewUsagePool(), 0
	boom := errors.New("boom")
	_, l, err := lease.Take(pool, "key", func() (*counter, error) { return nil, boom })
	if !errors.Is(err, boom) || l.Held() {
		t.Fatalf("got %v, held %v", err, l.Held())
	}

	_, running := take(t, pool, &destroyed)
	_, _, err = lease.Take(pool, "key", func() (*other, error) { return &other{}, nil })
	if !errors.Is(err, lease.ErrForeign) {
		t.Fatalf("got %v, want ErrForeign", err)
	}
	if destroyed != 0 {
		t.Fatal("a foreign Take destroyed the value")
	}
	if err := running.Release(); err != nil || destroyed != 1 {
		t.Fatalf("the foreign Take left a reference behind: destroyed %d, err %v", destroyed, err)
	}
}
