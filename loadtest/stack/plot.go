// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// Sizes of plots, in pixels.
const (
	plotWidth  = 900
	labelWidth = 440
	rowHeight  = 26
	topMargin  = 30
	curveTall  = 260
	curveLeft  = 60
)

// drawing collects SVG.
type drawing struct{ strings.Builder }

func (d *drawing) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(d, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", class, x1, y1, x2, y2)
}

func (d *drawing) text(x, y float64, anchor, text string) {
	fmt.Fprintf(d, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, template.HTMLEscapeString(text))
}

func (d *drawing) dot(x, y, r float64, class string) {
	fmt.Fprintf(d, `<circle class="%s" cx="%.1f" cy="%.1f" r="%.1f"/>`+"\n", class, x, y, r)
}

// whole wraps what was drawn. The text is made here from numbers and from names that are escaped.
func (d *drawing) whole(height float64, title string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %d %.0f" role="img" aria-label="%s">`, plotWidth, height,
		template.HTMLEscapeString(title)) + "\n" + d.String() + "</svg>\n")
}

// ratioPlot has a row a comparison of one method: a dot a round, a bar at the median, a red line at the limit.
func (r report) ratioPlot(m method) template.HTML {
	type row struct {
		label  string
		limit  float64
		ratios []float64
	}
	var rows []row
	most := 1.2
	for _, c := range r.comparisons {
		ratios := finite(each(blocksOf(r.blocks, c.name), func(b block) float64 { return b.ratio(m) }))
		if c.method != m || len(ratios) == 0 {
			continue
		}
		rows = append(rows, row{c.name + ": " + named(c.rival).title, c.limit, ratios})
		most = max(most, c.limit, slices.Max(ratios))
	}
	if len(rows) == 0 {
		return ""
	}
	step := niceStep(most / 6)
	most = math.Ceil(most/step) * step
	x := func(ratio float64) float64 { return labelWidth + ratio/most*(plotWidth-labelWidth-20) }
	bottom := float64(topMargin + rowHeight*len(rows))
	var d drawing
	for tick := 0.0; tick <= most+step/2; tick += step {
		d.line(x(tick), topMargin-8, x(tick), bottom, "grid")
		d.text(x(tick), topMargin-12, "middle", lab.Number(tick, 2))
	}
	d.line(x(1), topMargin-8, x(1), bottom, "one")
	for i, row := range rows {
		y := float64(topMargin+rowHeight*i) + rowHeight/2
		d.text(labelWidth-12, y+4, "end", row.label)
		for _, ratio := range row.ratios {
			d.dot(x(ratio), y, 3.5, "round")
		}
		middle := lab.Median(row.ratios)
		d.line(x(middle), y-9, x(middle), y+9, "median")
		if row.limit > 0 {
			d.line(x(row.limit), y-11, x(row.limit), y+11, "limit")
		}
	}
	return d.whole(bottom+6, m.String()+" ratios")
}

// niceStep is the next of 1, 2 and 5 times a power of ten.
func niceStep(at float64) float64 {
	if at <= 0 || math.IsNaN(at) || math.IsInf(at, 0) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(at)))
	for _, of := range []float64{1, 2, 5} {
		if of*power >= at*(1-1e-9) {
			return of * power
		}
	}
	return 10 * power
}

// curvePlot draws the latencies of both contenders, the median over the rounds at each share.
func curvePlot(c comparison, blocks []block) template.HTML {
	shares := curveShares()
	curves := [2][]point{
		medianCurve(blocks, func(b block) []point { return b.base.curve }),
		medianCurve(blocks, func(b block) []point { return b.rival.curve }),
	}
	least, most := math.Inf(1), 0.0
	for _, curve := range curves {
		for _, p := range curve {
			least, most = min(least, max(p.ms, 0.01)), max(most, p.ms)
		}
	}
	if len(curves[0]) == 0 || most <= 0 {
		return ""
	}
	from, to := math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
	x := func(i int) float64 { return curveLeft + float64(i)/float64(len(shares)-1)*(plotWidth-curveLeft-30) }
	y := func(ms float64) float64 {
		return topMargin + (to-math.Log10(max(ms, 0.01)))/max(to-from, 1)*(curveTall-2*topMargin)
	}
	var d drawing
	for power := from; power <= to; power++ {
		ms := math.Pow(10, power)
		d.line(curveLeft, y(ms), plotWidth-30, y(ms), "grid")
		d.text(curveLeft-8, y(ms)+4, "end", fmt.Sprintf("%g ms", ms))
	}
	for i, share := range shares {
		d.line(x(i), topMargin, x(i), curveTall-topMargin, "grid")
		d.text(x(i), curveTall-topMargin+18, "middle", fmt.Sprintf("%g", 100*share))
	}
	for i, curve := range curves {
		class := [2]string{"base", "rival"}[i]
		var points strings.Builder
		for j, p := range curve {
			fmt.Fprintf(&points, "%.1f,%.1f ", x(j), y(p.ms))
		}
		fmt.Fprintf(&d, `<polyline class="%s" points="%s"/>`+"\n", class, strings.TrimSpace(points.String()))
		at := curveLeft + float64(i)*400
		d.line(at, 12, at+24, 12, class)
		d.text(at+30, 16, "start", named([2]string{c.base, c.rival}[i]).title)
	}
	return d.whole(curveTall, "latencies of "+c.name)
}

// medianCurve is a curve of medians.
func medianCurve(blocks []block, of func(block) []point) []point {
	var curve []point
	for i, share := range curveShares() {
		var values []float64
		for _, b := range blocks {
			if c := of(b); i < len(c) {
				values = append(values, c[i].ms)
			}
		}
		if len(values) > 0 {
			curve = append(curve, point{share, lab.Median(values)})
		}
	}
	return curve
}
