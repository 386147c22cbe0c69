// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// maxWait bounds every single wait of this package: a drawn latency, a stall, a place in the queue. A heavy tail or
// a forgotten setting then ends by itself.
const maxWait = 10 * time.Minute

// maxSigma keeps exp(sigma²/2), the factor between a lognormal's median and its mean, within float64.
const maxSigma = 10

// distribution says how long one request keeps a worker busy. The zero value takes no time.
type distribution struct {
	kind  string // "", "const", "exp" or "lognormal"
	mean  time.Duration
	sigma float64 // of the underlying normal, lognormal only
}

// parseLatency reads a latency specification:
//
//	none               no time at all; the empty string means the same
//	const:D            always D
//	exp:M              exponential with mean M
//	lognormal:M,S      lognormal with mean M (not median) and sigma S of the underlying normal
//
// D and M are Go durations of at most ten minutes; S lies in (0, 10].
func parseLatency(spec string) (distribution, error) {
	kind, arg, hasArg := strings.Cut(spec, ":")
	if !hasArg && (kind == "" || kind == "none") {
		return distribution{}, nil
	}
	d := distribution{kind: kind}
	var err error
	switch kind {
	case "const", "exp":
		d.mean, err = parseWait(arg)
	case "lognormal":
		d.mean, d.sigma, err = parseLognormal(arg)
	default:
		err = fmt.Errorf("unknown distribution %q", kind)
	}
	if err == nil && d.mean == 0 && kind != "const" {
		err = fmt.Errorf("the mean must be above 0")
	}
	if err != nil {
		return distribution{}, fmt.Errorf("latency %q: %w (want none, const:D, exp:MEAN or lognormal:MEAN,SIGMA)", spec, err)
	}
	return d, nil
}

func parseLognormal(arg string) (mean time.Duration, sigma float64, err error) {
	meanText, sigmaText, ok := strings.Cut(arg, ",")
	if !ok {
		return 0, 0, fmt.Errorf("sigma is missing")
	}
	if mean, err = parseWait(meanText); err != nil {
		return 0, 0, err
	}
	sigma, err = strconv.ParseFloat(sigmaText, 64)
	if err != nil || !(sigma > 0 && sigma <= maxSigma) { // the negation also refuses NaN
		return 0, 0, fmt.Errorf("sigma %q is not a number in (0, %d]", sigmaText, maxSigma)
	}
	return mean, sigma, nil
}

// parseWait reads a duration between 0 and maxWait.
func parseWait(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("bad duration %q", s)
	}
	return d, checkWait(d)
}

func checkWait(d time.Duration) error {
	if d < 0 || d > maxWait {
		return fmt.Errorf("duration %s is outside 0s to %s", d, maxWait)
	}
	return nil
}

// String gives the specification in a form that parseLatency reads back to the same value.
func (d distribution) String() string {
	switch d.kind {
	case "":
		return "none"
	case "lognormal":
		return fmt.Sprintf("lognormal:%s,%s", d.mean, strconv.FormatFloat(d.sigma, 'g', -1, 64))
	default:
		return d.kind + ":" + d.mean.String()
	}
}

// draw takes one value, at most maxWait.
func (d distribution) draw(r *rand.Rand) time.Duration {
	mean := float64(d.mean)
	var v float64
	switch d.kind {
	case "const":
		return d.mean
	case "exp":
		v = r.ExpFloat64() * mean
	case "lognormal":
		// The mean of exp(N(mu, sigma²)) is exp(mu + sigma²/2), so mu is taken down by that half variance.
		v = mean * math.Exp(d.sigma*r.NormFloat64()-d.sigma*d.sigma/2)
	}
	return time.Duration(min(v, float64(maxWait)))
}

// sleep waits d, or until ctx ends, whose cause it then returns. The timer never outlives the call.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
