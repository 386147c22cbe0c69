// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"io"
	"strings"
	"testing"
)

// CommandLine is one for a load test, and what its parser should make of it.
type CommandLine[S any] struct {
	Line          string
	Rounds, Short string       // of the environment
	Want          string       // stands in the error; empty if there should be none
	Check         func(S) bool // of settings without an error
}

// Parse gives the command lines to a load test's parser.
func Parse[S any](t *testing.T, parse func([]string, io.Writer) (S, error), lines []CommandLine[S]) {
	for _, c := range lines {
		t.Run(c.Line+c.Rounds+c.Short, func(t *testing.T) {
			t.Setenv("ROUNDS", c.Rounds)
			t.Setenv("SHORT", c.Short)
			s, err := parse(strings.Fields(c.Line), io.Discard)
			switch {
			case c.Want == "" && err != nil:
				t.Error(err)
			case c.Want == "" && !c.Check(s):
				t.Errorf("got %+v", s)
			case c.Want != "" && (err == nil || !strings.Contains(err.Error(), c.Want)):
				t.Errorf("error %v, want %q", err, c.Want)
			}
		})
	}
}
