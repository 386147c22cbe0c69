// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// A request behind an open breaker costs a load and a count.
func BenchmarkOpenBreaker(b *testing.B) {
	c := open(b, at("127.0.0.1:1"))
	c.breaker.open(errSilent)
	s, keys := NewScript("return 1"), []string{"key"}
	b.Run("do", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Do(b.Context(), "INCR", "key"); err != ErrUnavailable {
				b.Fatal(err)
			}
		}
	})
	b.Run("run", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Run(b.Context(), s, keys, 1, "x"); err != ErrUnavailable {
				b.Fatal(err)
			}
		}
	})
	b.Run("healthy", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if c.Healthy() {
				b.Fatal("healthy")
			}
		}
	})
}

// TestOpenBreakerAllocatesNothing holds what the benchmark shows.
func TestOpenBreakerAllocatesNothing(t *testing.T) {
	c := open(t, at("127.0.0.1:1"))
	c.breaker.open(errSilent)
	s, keys, ctx := NewScript("return 1"), []string{"key"}, t.Context()
	if n := testing.AllocsPerRun(100, func() {
		_, _ = c.Do(ctx, "INCR", "key")
		_, _ = c.Run(ctx, s, keys, 1, "x")
		_ = c.Healthy()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What the breaker and the batching cost and save, against the driver's pool and its own pipeline.
func BenchmarkIncr(b *testing.B) {
	server := gatehousetest.StartRedis(b)
	for _, parallel := range []int{1, 32} {
		name := map[int]string{1: "alone", 32: "concurrent"}[parallel]
		b.Run("gatehouse/"+name, func(b *testing.B) {
			c := open(b, at(server.Address))
			run(b, parallel, func() error { _, err := c.Do(b.Context(), "INCR", "n"); return err })
		})
		b.Run("pool/"+name, func(b *testing.B) {
			plain := goredis.NewClient(&goredis.Options{Addr: server.Address, Protocol: 2})
			defer plain.Close()
			run(b, parallel, func() error { return plain.Incr(b.Context(), "n").Err() })
		})
		b.Run("pipeline/"+name, func(b *testing.B) {
			plain := goredis.NewClient(&goredis.Options{Addr: server.Address, Protocol: 2})
			defer plain.Close()
			pipe, err := plain.AutoPipeline()
			if err != nil {
				b.Fatal(err)
			}
			run(b, parallel, func() error { return pipe.Incr(b.Context(), "n").Err() })
		})
	}
}

// run measures f from parallel goroutines per processor, or from one.
func run(b *testing.B, parallel int, f func() error) {
	b.ReportAllocs()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	if parallel == 1 {
		for range b.N {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
	b.SetParallelism(parallel)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f(); err != nil {
				b.Error(err)
			}
		}
	})
}
