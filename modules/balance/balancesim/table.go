// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balancesim

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Evaluate runs every rival on a case with every seed, and returns the averages by name. It uses as many threads as Go does.
func Evaluate(c Case, rivals []Rival, seeds []uint64) (map[string]Result, error) {
	if err := c.Normalize(); err != nil {
		return nil, fmt.Errorf("scenario %q: %w", c.Name, err)
	}
	runs := make([][]Result, len(rivals))
	errs := make([]error, len(rivals)*len(seeds))
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i, rival := range rivals {
		runs[i] = make([]Result, len(seeds))
		for j, seed := range seeds {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				runs[i][j], errs[i*len(seeds)+j] = Run(&c.Scenario, rival, seed)
			})
		}
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	results := map[string]Result{}
	for i, rival := range rivals {
		results[rival.Name] = Average(runs[i])
	}
	return results, nil
}

// diverges is the p99 (milliseconds) from which a table says so: the queues grew until the end.
const diverges = 10_000

// Print writes a case's table and its checked figures, and returns how many were missed. Figures of policies that did not
// run are left out.
func Print(w io.Writer, c Case, rivals []Rival, results map[string]Result) (missed int, err error) {
	if err := c.Normalize(); err != nil {
		return 0, fmt.Errorf("scenario %q: %w", c.Name, err)
	}
	fmt.Fprintf(w, "\n## %s\n%s (%d servers, %.0f requests/s, %v, counted from %v to %v)\n\n", c.Name, c.About, len(c.servers()),
		c.rate(), time.Duration(c.Duration), time.Duration(c.From), time.Duration(c.To))
	fmt.Fprintf(w, "%-20s %9s %9s %9s %9s %8s %8s %8s %8s %7s\n", "policy", "mean ms", "p50", "p99", "p99.9", "failed%", "share%", "errors", "refused", "copies")
	for _, rival := range rivals {
		r := results[rival.Name]
		watched := r.LeastShare
		if c.Watch != nil {
			watched = r.Share[*c.Watch]
		}
		note := ""
		if r.P99 > diverges {
			note = "  diverges"
		}
		fmt.Fprintf(w, "%-20s %9.2f %9.2f %9.1f %9.1f %8.4f %8.2f %8.0f %8.0f %7.0f%s\n", rival.Name, r.Mean, r.P50, r.P99, r.P999,
			r.Failed*100, watched*100, errorsOf(r), r.Refused, r.Copies, note)
	}
	for _, f := range c.Figures {
		if !slices.ContainsFunc(rivals, func(r Rival) bool { return r.Name == f.Policy }) {
			continue
		}
		m, err := f.print(w, results)
		if err != nil {
			return missed, err
		}
		missed += m
	}
	return missed, nil
}

func (f Figure) print(w io.Writer, results map[string]Result) (missed int, err error) {
	v, err := f.Check(f.Policy, results)
	if err != nil {
		return 0, err
	}
	word, sign := "kept  ", "<="
	if !v.OK {
		word, missed = "MISSED", 1
	}
	if f.AtLeast {
		sign = ">="
	}
	got, limit := v.Got, v.Bound
	if f.Against != "" {
		got, limit = v.Got/(v.Bound/f.Limit), f.Limit
	}
	fmt.Fprintf(w, "%s %s: %s is %.4g (%s %.4g)\n", word, f.Policy, f.What, got, sign, limit)
	return missed, nil
}
