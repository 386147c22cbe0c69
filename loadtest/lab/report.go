// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Row is a line of a Markdown table.
func Row(columns ...string) string { return "| " + strings.Join(columns, " | ") + " |\n" }

// Number has so many decimals, or a dash for what was not measured.
func Number(v float64, decimals int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

// Origin says where a report's figures are from, and what they lack.
type Origin struct {
	Machine    Machine
	LoadBefore string
	Missing    []string // why something was not measured, a sentence each
	Short      bool
	Whole      bool // false if the run was interrupted or failed
}

// Lines are sentences for the head of a report.
func (o Origin) Lines() []string {
	lines := []string{
		fmt.Sprintf("Machine: %d cores, %s, %s; load average %s before, %s after", runtime.NumCPU(), o.Machine.CPU,
			o.Machine.System, o.LoadBefore, Load()),
		fmt.Sprintf("Programs: commit %s, %s", o.Machine.Commit, strings.Join(o.Machine.Versions, ", ")),
		"Date: " + time.Now().UTC().Format(time.DateOnly),
	}
	lines = append(lines, o.Missing...)
	if o.Short {
		lines = append(lines, "A short run, to see that it works: its figures prove nothing.")
	}
	if !o.Whole {
		lines = append(lines, "The run did not come to its end: not all rounds are in these tables.")
	}
	return lines
}

// String is the Markdown of the lines.
func (o Origin) String() string { return "- " + strings.Join(o.Lines(), "\n- ") + "\n" }

// Verdict is a promised figure and what was measured.
type Verdict struct {
	Promise  string
	Limit    string
	Measured float64 // NaN if it was not measured
	Met      bool
}

// Word is the verdict in short.
func (v Verdict) Word() string {
	switch {
	case math.IsNaN(v.Measured):
		return "not measured"
	case v.Met:
		return "met"
	default:
		return "missed"
	}
}

// AtMost is how a limit reads.
func AtMost(limit float64) string { return fmt.Sprintf("<= %g", limit) }

// AllMet is false for what was not measured.
func AllMet(all []Verdict) bool {
	return !slices.ContainsFunc(all, func(v Verdict) bool { return !v.Met })
}

// Verdicts is the table of promised figures.
func Verdicts(all []Verdict) string {
	if len(all) == 0 {
		return "No promised figure belongs to what was measured.\n"
	}
	var text strings.Builder
	text.WriteString(Row("promised", "limit", "measured", "") + Row("---", "---:", "---:", "---"))
	for _, v := range all {
		text.WriteString(Row(v.Promise, v.Limit, Number(v.Measured, 3), v.Word()))
	}
	return text.String()
}
