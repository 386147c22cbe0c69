// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package estimator

import (
	"fmt"
	"testing"
	"time"
)

// busyPool returns n upstreams that have answered some requests and have some under way.
func busyPool(n int) ([]Candidate, int64) {
	now := int64(time.Second)
	candidates := make([]Candidate, n)
	for i := range candidates {
		u := New(Params{})
		candidates[i].Upstream = u
		for j := range 200 {
			var a Attempt
			u.Begin(&a, now+int64(j)*int64(time.Millisecond))
			a.Headers(now+int64(j)*int64(time.Millisecond)+int64(10+i)*int64(time.Millisecond), false)
			a.Done(now+int64(j)*int64(time.Millisecond)+int64(10+i)*int64(time.Millisecond), Answered)
		}
		for range i % 8 {
			u.Begin(new(Attempt), now+int64(300*time.Millisecond))
		}
	}
	return candidates, now + int64(301*time.Millisecond)
}

func BenchmarkChoose(b *testing.B) {
	for _, m := range []Method{LeastResponseTime, LeastBandwidth} {
		for _, n := range []int{5, 10, 50, 200} {
			b.Run(fmt.Sprintf("method=%d/n=%d", m, n), func(b *testing.B) {
				candidates, now := busyPool(n)
				c := NewChooser(Params{}, m, nil)
				b.ReportAllocs()
				for b.Loop() {
					now += 1000
					c.Choose(now, candidates, Request{})
				}
			})
		}
	}
}

func BenchmarkAdmit(b *testing.B) {
	for _, n := range []int{5, 10, 50} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			candidates, now := busyPool(n)
			c, admit := NewChooser(Params{}, LeastResponseTime, nil), make([]bool, n)
			b.ReportAllocs()
			for b.Loop() {
				now += 1000
				c.Admit(now, candidates, Request{}, admit)
			}
		})
	}
}

// The figures are published every 2 ms at most: with attempts further apart, each publishes.
func BenchmarkAttempt(b *testing.B) {
	for _, apart := range []time.Duration{100 * time.Microsecond, 5 * time.Millisecond} {
		b.Run(apart.String(), func(b *testing.B) {
			u := New(Params{})
			now := int64(time.Second)
			b.ReportAllocs()
			var a Attempt
			for i := int64(0); b.Loop(); i++ {
				now += int64(apart)
				a.state.Store(0)
				u.Begin(&a, now)
				a.level = int(i % 6)
				a.Headers(now+(50+i%40)*1000, false)
				a.Done(now+100_000, Answered)
			}
		})
	}
}
