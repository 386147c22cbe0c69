// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

const (
	// soakPiece is how much of a soak one attack is: between two of them, memory is read.
	soakPiece = 10 * time.Second
	// soakQuiet is how long a proxy may take after the load to end what it began.
	soakQuiet = 15 * time.Second
	// soakGrowth is how far the last quarter's memory may lie above the second's.
	soakGrowth = 1.05
	// leastSoak has enough pieces for quarters.
	leastSoak = 2 * time.Minute
)

// soak is what a long run at a constant rate showed.
type soak struct {
	length           time.Duration
	rate             int
	requests, wrong  int
	firstWrong       string
	resident         []float64 // MiB after each piece
	before, after    int       // goroutines, without load
	p99              []float64 // ms of each piece
	origin           lab.Origin
	memory, leftOver lab.Verdict
	answered         lab.Verdict
	lost             int // log lines that did not arrive
}

// soakOf keeps everything switched on under 70 % of what it served at most.
func (b *bench) soakOf(ctx context.Context, length time.Duration) (*soak, error) {
	c := named(allOn)
	c.admin = true
	port, err := lab.FreePort()
	if err != nil {
		return nil, err
	}
	admin := "127.0.0.1:" + strconv.Itoa(port)
	proxy, err := b.startProxyAt(ctx, c, admin)
	if err != nil {
		return nil, err
	}
	defer proxy.Stop()
	before, err := b.ingested(ctx)
	if err != nil {
		return nil, err
	}
	s := &soak{length: length, origin: lab.Origin{Machine: b.machine, LoadBefore: lab.Load(), Whole: true}}
	begun := 0
	drive := func(rate int, length time.Duration) ([]timed, float64, error) {
		n := closedTargets
		if rate > 0 {
			n = int(float64(rate)*length.Seconds()) + 1
		}
		a := attack{rate: rate, length: length, targets: n, of: func(i int) target { return numbered(proxy.Base, miss, begun+i) }}
		results, err := a.run(ctx, b.programs.vegeta, b.folder)
		begun += n
		all := timing(results, rate)
		return all, seconds(all), err
	}
	// The first attack makes what stays, such as connections; the count before is that of a proxy that has worked.
	most, took, err := drive(0, 5*time.Second)
	if err != nil {
		return nil, err
	}
	s.rate = max(int(loadedShare*float64(len(most))/took), 1)
	if s.before, err = quietGoroutines(ctx, admin, 0); err != nil {
		return nil, err
	}
	for range int(length / soakPiece) {
		results, took, err := drive(s.rate, soakPiece)
		if err != nil {
			return nil, err
		}
		held, err := proxy.Resident()
		if err != nil {
			return nil, err
		}
		s.add(summarize(results, took, http.StatusOK), held/(1<<20))
		lab.Say(b.progress, "%s", s.line())
	}
	if s.after, err = quietGoroutines(ctx, admin, s.before); err != nil {
		return nil, err
	}
	after, err := b.ingested(ctx)
	if err != nil {
		return nil, err
	}
	s.lost = max(0, len(most)+s.requests-(after.Lines-before.Lines))
	s.judge()
	return s, nil
}

// add takes a piece in.
func (s *soak) add(f figures, resident float64) {
	s.requests, s.wrong = s.requests+f.requests, s.wrong+f.wrong
	if s.firstWrong == "" {
		s.firstWrong = f.firstWrong
	}
	s.resident, s.p99 = append(s.resident, resident), append(s.p99, f.p99)
}

// line is the last piece in a line of progress.
func (s *soak) line() string {
	n := len(s.resident)
	return fmt.Sprintf("%d of %d: %d requests/s, p99 %.1f ms, %.0f MiB, %d wrong so far", n, int(s.length/soakPiece), s.rate, s.p99[n-1],
		s.resident[n-1], s.wrong)
}

// soakAndReport runs a soak and prints what it showed.
func (b *bench) soakAndReport(ctx context.Context, stdout io.Writer) error {
	s, err := b.soakOf(ctx, b.settings.soak)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(stdout, s.markdown()); err != nil {
		return err
	}
	if !lab.AllMet(s.verdicts()) {
		return lab.ErrMissed
	}
	return nil
}

// judge compares quarters of the run.
func (s *soak) judge() {
	quarter := len(s.resident) / 4
	growth := lab.Median(s.resident[3*quarter:]) / lab.Median(s.resident[quarter:2*quarter])
	s.memory = lab.Verdict{
		Promise: "RSS: the last quarter, to the second", Limit: lab.AtMost(soakGrowth), Measured: growth, Met: growth <= soakGrowth,
	}
	s.answered = lab.Verdict{Promise: "errors", Limit: lab.AtMost(0), Measured: float64(s.wrong), Met: s.wrong == 0}
	left := max(0, s.after-s.before)
	s.leftOver = lab.Verdict{Promise: "goroutines left over", Limit: lab.AtMost(0), Measured: float64(left), Met: left == 0}
}

func (s *soak) verdicts() []lab.Verdict {
	shipped := lab.Verdict{Promise: "log lines lost", Limit: lab.AtMost(0), Measured: float64(s.lost), Met: s.lost == 0}
	return []lab.Verdict{s.memory, s.answered, s.leftOver, shipped}
}

func (s *soak) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "# Soak\n\n%s with everything on, %d requests/s (70 %% of its greatest rate), misses of 1 KiB; %d requests, %d goroutines "+
		"before and %d after.\n\n%s\n%s\n", s.length, s.rate, s.requests, s.before, s.after, s.origin, lab.Verdicts(s.verdicts()))
	if s.wrong > 0 {
		fmt.Fprintf(&out, "\nThe first error: %s\n", s.firstWrong)
	}
	out.WriteString("\n" + lab.Row("after", "RSS MiB", "p99 ms") + lab.Row("---", "---:", "---:"))
	for i := range s.resident {
		out.WriteString(lab.Row((time.Duration(i+1) * soakPiece).String(), lab.Number(s.resident[i], 0), lab.Number(s.p99[i], 1)))
	}
	return out.String()
}

// quietGoroutines waits until a proxy without load has no more goroutines than most, or for soakQuiet; with most 0 it waits until
// they are no fewer than a second before.
func quietGoroutines(ctx context.Context, admin string, most int) (int, error) {
	last := 0
	for deadline := time.Now().Add(soakQuiet); ; {
		n, err := goroutines(ctx, admin)
		if err != nil {
			return 0, err
		}
		if time.Now().After(deadline) || most > 0 && n <= most || most == 0 && n == last {
			return n, nil
		}
		last = n
		if !lab.SleepUntil(ctx, time.Now().Add(2*time.Second)) {
			return 0, errors.New("interrupted")
		}
	}
}

// goroutines reads their number from the metrics at the admin endpoint.
func goroutines(ctx context.Context, admin string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(io.LimitReader(resp.Body, 16<<20)); lines.Scan(); {
		if text, found := strings.CutPrefix(lines.Text(), "go_goroutines "); found {
			return strconv.Atoi(text)
		}
	}
	return 0, errors.New("the metrics do not tell the number of goroutines")
}
