// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseLatency(t *testing.T) {
	for _, test := range []struct {
		spec, want string // want: canonical form, or a part of the error after "!"
	}{
		{"", "none"},
		{"none", "none"},
		{"const:0s", "const:0s"},
		{"const:5ms", "const:5ms"},
		{"const:10m", "const:10m0s"},
		{"exp:1500us", "exp:1.5ms"},
		{"lognormal:30ms,0.7", "lognormal:30ms,0.7"},
		{"lognormal:30ms,10", "lognormal:30ms,10"},
		{"5ms", "!unknown distribution"},
		{"none:1s", "!unknown distribution"},
		{"const", "!bad duration"},
		{"const:", "!bad duration"},
		{"const:5", "!bad duration"},
		{"const:-1ms", "!outside"},
		{"const:10m1ns", "!outside"},
		{"exp:0s", "!above 0"},
		{"lognormal:0s,1", "!above 0"},
		{"lognormal:10ms", "!sigma is missing"},
		{"lognormal:10ms,0", "!sigma"},
		{"lognormal:10ms,-1", "!sigma"},
		{"lognormal:10ms,NaN", "!sigma"},
		{"lognormal:10ms,Inf", "!sigma"},
		{"lognormal:10ms,10.1", "!sigma"},
		{"lognormal:10ms,1,2", "!sigma"},
	} {
		t.Run(test.spec, func(t *testing.T) {
			d, err := parseLatency(test.spec)
			if problem, bad := strings.CutPrefix(test.want, "!"); bad {
				if err == nil || !strings.Contains(err.Error(), problem) {
					t.Fatalf("error %v, want one with %q", err, problem)
				}
				return
			}
			if err != nil || d.String() != test.want {
				t.Fatalf("%s, %v; want %s", d, err, test.want)
			}
		})
	}
}

// FuzzParseLatency: whatever is accepted is written as something that reads back to the same value, and draws within
// the bounds.
func FuzzParseLatency(f *testing.F) {
	for _, seed := range []string{
		"", "none", "const:5ms", "exp:10ms", "lognormal:10ms,1", "lognormal:10ms,1e-300", "lognormal:10m,10",
		"const:-1s", "exp:,", "lognormal:1h,x", "::",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		d, err := parseLatency(spec)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("an error of more than one line: %q", err)
			}
			return
		}
		again, err := parseLatency(d.String())
		if err != nil || again != d {
			t.Fatalf("%q became %q and then %q, %v", spec, d, again, err)
		}
		r := rand.New(rand.NewPCG(1, 2))
		for range 100 {
			if v := d.draw(r); v < 0 || v > maxWait {
				t.Fatalf("%q drew %s", spec, v)
			}
		}
	})
}

// TestDrawShape compares a hundred thousand draws of a fixed seed with what the distributions are known to give.
func TestDrawShape(t *testing.T) {
	const n = 100_000
	for _, test := range []struct {
		spec         string
		mean, median float64 // in milliseconds
	}{
		{"const:10ms", 10, 10},
		{"exp:10ms", 10, 10 * math.Ln2},
		{"lognormal:10ms,1", 10, 10 / math.Exp(0.5)},
		{"lognormal:30ms,0.7", 30, 30 / math.Exp(0.245)},
	} {
		t.Run(test.spec, func(t *testing.T) {
			d, err := parseLatency(test.spec)
			if err != nil {
				t.Fatal(err)
			}
			r := newRand(1, "test")
			draws := make([]float64, n)
			sum := 0.0
			for i := range draws {
				draws[i] = float64(d.draw(r)) / float64(time.Millisecond)
				sum += draws[i]
			}
			slices.Sort(draws)
			near(t, "mean", sum/n, test.mean)
			near(t, "median", draws[n/2], test.median)
		})
	}
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 0.02*want {
		t.Errorf("%s %.3f, want %.3f within 2 %%", what, got, want)
	}
}

func TestDrawIsCut(t *testing.T) {
	d := distribution{kind: "lognormal", mean: maxWait, sigma: 1}
	r := newRand(1, "test")
	longest := time.Duration(0)
	for range 10_000 {
		longest = max(longest, d.draw(r))
	}
	if longest != maxWait {
		t.Fatalf("longest %s, want %s", longest, maxWait)
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := sleep(t.Context(), time.Second); err != nil || time.Since(began) != time.Second {
			t.Fatalf("%v after %s", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if err := sleep(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Fatalf("%v after %s", err, time.Since(began))
		}
		if err := sleep(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("no wait on a finished request: %v", err)
		}
	})
}
