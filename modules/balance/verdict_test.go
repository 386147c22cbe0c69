// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"testing"

	"pgregory.net/rapid"
)

func TestStreak(t *testing.T) {
	limits := thresholds{fails: 3, passes: 2}
	for _, c := range []struct {
		name    string
		begin   verdict
		checks  string // + passed, - failed
		verdict string // after each: U up, D down
	}{
		{"healthy", up, "+++", "UUU"},
		{"two failures are not three", up, "--+--+--", "UUUUUUUU"},
		{"three in a row", up, "---", "UUD"},
		{"back after two in a row", up, "---+-++", "UUDDDDU"},
		{"one pass is not two", down, "+-+-+-", "DDDDDD"},
		{"begins down", down, "++--", "DUUU"},
		{"first check decides: failed", unknown, "-", "D"},
		{"first check decides: passed", unknown, "+--+", "UUUU"},
		{"unknown, failed, recovers as usual", unknown, "-+-++", "DDDDU"},
		{"a pass while up begins the count of failures anew", up, "--+---", "UUUUUD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := streak{verdict: c.begin}
			got := ""
			for _, check := range c.checks {
				s = s.after(check == '+', limits)
				got += map[verdict]string{unknown: "?", up: "U", down: "D"}[s.verdict]
			}
			if got != c.verdict {
				t.Errorf("after %s: %s, want %s", c.checks, got, c.verdict)
			}
		})
	}
}

// flips counts the changes of the verdict over a run of checks.
func flips(s streak, limits thresholds, checks int, passes func(i int) bool) (n int) {
	for i := range checks {
		next := s.after(passes(i), limits)
		if next.verdict != s.verdict {
			n++
		}
		s = next
	}
	return n
}

// Failures that never come in a row never make an upstream go down, however many there are.
func TestIsolatedFailuresDoNotFlip(t *testing.T) {
	limits := thresholds{fails: 3, passes: 2}
	for _, every := range []int{2, 3, 10, 100} {
		if n := flips(streak{verdict: up}, limits, 10_000, func(i int) bool { return i%every != every-1 }); n != 0 {
			t.Errorf("one failure in %d checks: %d flips in 10,000 checks, want 0", every, n)
		}
	}
	if n := flips(streak{verdict: up}, limits, 10_000, func(i int) bool { return i%10 < 7 }); n != 2*1000-1 {
		t.Errorf("three failures in a row: %d flips, want two for each of the 1000 runs, save the last way up", n)
	}
}

// The verdict changes exactly when the last checks were as many of the other kind as the thresholds say.
func TestStreakProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := thresholds{fails: rapid.IntRange(1, 6).Draw(t, "fails"), passes: rapid.IntRange(1, 6).Draw(t, "passes")}
		checks := rapid.SliceOfN(rapid.Bool(), 0, 200).Draw(t, "checks")
		s := streak{verdict: rapid.SampledFrom([]verdict{up, down}).Draw(t, "initial")}
		for i, passed := range checks {
			before := s.verdict
			s = s.after(passed, limits)
			run := 0
			for j := i; j >= 0 && checks[j] == passed; j-- {
				run++
			}
			want := before
			if passed && run >= limits.passes {
				want = up
			} else if !passed && run >= limits.fails {
				want = down
			}
			if s.verdict != want {
				t.Fatalf("check %d of %v: %v -> %v, want %v", i, checks, before, s.verdict, want)
			}
		}
	})
}
