// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"strings"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// layout is the page: it asks nothing of the network and runs no script.
//
//go:embed page.html
var layout string

// plot is a picture with what to know of it.
type plot struct {
	Title, Note string
	Picture     template.HTML
}

// shown is a verdict as the page writes it.
type shown struct {
	lab.Verdict
	Figure, Class string
}

// opened is a table that stands open, or folded.
type opened struct {
	table
	Open bool
}

// page is the whole report in HTML.
func (r report) page() (string, error) {
	parsed, err := template.New("report").Parse(layout)
	if err != nil {
		return "", fmt.Errorf("reading the page's layout: %w", err)
	}
	content := struct {
		Method, Apart string
		Origin        []string
		Verdicts      []shown
		Plots         []plot
		Tables        []opened
	}{Method: r.method(), Apart: r.apart(), Origin: r.origin.Lines(), Plots: r.plots()}
	for _, v := range r.verdicts {
		class := "missed"
		if v.Met {
			class = "met"
		}
		content.Verdicts = append(content.Verdicts, shown{v, lab.Number(v.Measured, 3), class})
	}
	tables := r.tables()
	for i, t := range tables {
		content.Tables = append(content.Tables, opened{t, i < len(tables)-1})
	}
	var out strings.Builder
	if err := parsed.Execute(&out, content); err != nil {
		return "", fmt.Errorf("writing the page: %w", err)
	}
	return out.String(), nil
}

// plots are the ratios of each method, and the latencies of what was driven at a constant rate.
func (r report) plots() []plot {
	const legend = "A dot is a round, the bar their median, the red line what is promised; the dashed line is equality."
	var all []plot
	for _, p := range []plot{
		{"CPU a request, to the proxy beside it", legend + " Less is better.", r.ratioPlot(beside)},
		{"Greatest rate, to the proxy beside it", legend + " More is better.", r.ratioPlot(maximum)},
		{"p99 under load, to the proxy beside it", legend + " Less is better.", r.ratioPlot(loaded)},
	} {
		if p.Picture != "" {
			all = append(all, p)
		}
	}
	for _, c := range r.comparisons {
		blocks := blocksOf(r.blocks, c.name)
		if c.method == maximum || len(blocks) == 0 {
			continue
		}
		if picture := curvePlot(c, blocks); picture != "" {
			all = append(all, plot{"Latency: " + c.name, "Percentiles against milliseconds; the scale is logarithmic.", picture})
		}
	}
	return all
}
