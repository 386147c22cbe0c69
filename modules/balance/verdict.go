// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import "fmt"

// verdict is what active checks say of an upstream.
type verdict uint8

const (
	// unknown means that no check has said anything yet. The upstream is used.
	unknown verdict = iota
	up
	down
)

// String returns the verdict as a config and the admin endpoint write it.
func (v verdict) String() string { return [...]string{"unknown", "up", "down"}[v] }

// parseVerdict reads a verdict; empty means up.
func parseVerdict(s string) (verdict, error) {
	switch s {
	case "up", "":
		return up, nil
	case "down":
		return down, nil
	case "unknown":
		return unknown, nil
	}
	return unknown, fmt.Errorf("expected one of up, down, unknown, found %q", s)
}

// thresholds are how many checks in a row change a verdict. Both are at least 1.
type thresholds struct{ fails, passes int }

// streak turns results of checks into a verdict. Consecutive means consecutive: one check of the other kind begins the
// count anew, so that failures which never come in a row never add up.
type streak struct {
	verdict verdict
	passes  int // in a row, up to now
	fails   int // in a row, up to now
}

// after returns the streak after one more check. The first check decides where nothing is known.
func (s streak) after(passed bool, t thresholds) streak {
	if passed {
		s.passes, s.fails = s.passes+1, 0
	} else {
		s.passes, s.fails = 0, s.fails+1
	}
	switch {
	case passed && (s.verdict == unknown || s.passes >= t.passes):
		s.verdict = up
	case !passed && (s.verdict == unknown || s.fails >= t.fails):
		s.verdict = down
	}
	return s
}
