// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// summary is what handleSummary of loadtest/k6/lib/run.js leaves of a scenario.
type summary struct {
	State struct {
		Milliseconds float64 `json:"testRunDurationMs"`
	} `json:"state"`
	Metrics map[string]metric `json:"metrics"`
}

// metric is one of k6's own or of the script's.
type metric struct {
	Type       string             `json:"type"` // counter, gauge, rate or trend
	Values     map[string]float64 `json:"values"`
	Thresholds map[string]struct {
		OK bool `json:"ok"`
	} `json:"thresholds"`
}

func readSummary(file string) (summary, error) {
	var s summary
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return s, fmt.Errorf("reading what the scenario left: %w", err)
	}
	return s, nil
}

// counted is false for a rate or a trend without a sample, whose thresholds k6 lets hold. Of a counter nobody can tell, so a
// script counts nothing without asking for a rate or a trend of the same requests, too.
func (m metric) counted() bool {
	switch m.Type {
	case "rate":
		return m.Values["passes"]+m.Values["fails"] > 0
	case "trend":
		return m.Values["count"] > 0
	default:
		return true
	}
}

// broken are the metrics with a threshold that was broken, or that held for nothing, in the order of their names; held is
// how many thresholds held.
func (s summary) broken() (names []string, held int) {
	for _, name := range slices.Sorted(maps.Keys(s.Metrics)) {
		m, bad := s.Metrics[name], false
		for _, result := range m.Thresholds {
			if result.OK && m.counted() {
				held++
			} else {
				bad = true
			}
		}
		if bad {
			names = append(names, name)
		}
	}
	return names, held
}

// own are the script's own counters, rates and gauges.
func (s summary) own() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(s.Metrics)) {
		if strings.Contains(name, "{") || slices.ContainsFunc(builtIn(), func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		m := s.Metrics[name]
		switch m.Type {
		case "rate":
			list = append(list, fmt.Sprintf("%s %.4g %%", name, 100*m.Values["rate"]))
		case "counter":
			list = append(list, fmt.Sprintf("%s %g", name, m.Values["count"]))
		case "gauge":
			list = append(list, fmt.Sprintf("%s %.0f", name, m.Values["value"]))
		case "trend":
			list = append(list, fmt.Sprintf("%s at most %.3g", name, m.Values["max"]))
		}
	}
	return strings.Join(list, ", ")
}

// builtIn is how the names of k6's own metrics begin.
func builtIn() []string {
	return []string{"http_", "data_", "iteration", "vus", "checks", "dropped_iterations", "group_duration"}
}

// judge is nil if a scenario showed what it has to: that all thresholds hold, or in its control that those break which the
// control is there for.
func judge(s scenario, got summary, isControl bool) error {
	broken, held := got.broken()
	switch {
	case len(broken)+held == 0:
		return errors.New("it has no threshold")
	case isControl:
		kept := slices.DeleteFunc(slices.Clone(s.control.breaks), func(name string) bool { return slices.Contains(broken, name) })
		if len(kept) > 0 {
			return fmt.Errorf("its control holds %s, so that these thresholds prove nothing", strings.Join(kept, ", "))
		}
		return nil
	}
	if bad := slices.DeleteFunc(broken, func(name string) bool { return slices.Contains(s.ends, name) }); len(bad) > 0 {
		return fmt.Errorf("broken: %s", strings.Join(bad, ", "))
	}
	return nil
}

// outcome is a scenario that ended.
type outcome struct {
	scenario scenario
	summary  summary
	err      error // what judge says
}

// report is the table of what ran, with where it ran.
func report(from lab.Origin, all []outcome, scale float64, isControl bool) string {
	var text strings.Builder
	title := "# Scenarios\n\n"
	if isControl {
		title = "# The controls of the scenarios\n\n"
	}
	fmt.Fprintf(&text, "%s%s- Scale: %g of each scenario's own time\n\n", title, from, scale)
	text.WriteString(lab.Row("scenario", "took s", "requests", "a second", "median ms", "p99 ms", "not sent", "checks", "counted",
		"thresholds held", "broken", "") + lab.Row("---", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---", "---:", "---", "---"))
	for _, one := range all {
		m := one.summary.Metrics
		broken, held := one.summary.broken()
		verdict := "passed"
		if one.err != nil {
			verdict = "**failed**"
		}
		text.WriteString(lab.Row(one.scenario.name, lab.Number(one.summary.State.Milliseconds/1000, 0),
			lab.Number(m["http_reqs"].Values["count"], 0), lab.Number(m["http_reqs"].Values["rate"], 0),
			lab.Number(m["http_req_duration"].Values["med"], 1), lab.Number(m["http_req_duration"].Values["p(99)"], 1),
			lab.Number(m["dropped_iterations"].Values["count"], 0), lab.Number(100*m["checks"].Values["rate"], 2)+" %",
			one.summary.own(), fmt.Sprint(held), strings.Join(broken, ", "), verdict))
	}
	return text.String()
}

// write leaves the report beside the summaries.
func write(folder, text string) error {
	if err := os.WriteFile(filepath.Join(folder, "scenarios.md"), []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
