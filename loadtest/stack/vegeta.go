// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// target is a request as `vegeta attack -format=json` reads it, one a line.
type target struct {
	Method string      `json:"method"`
	URL    string      `json:"url"`
	Header http.Header `json:"header,omitempty"`
	Body   string      `json:"body,omitempty"` // base64
}

// numbered is a GET of a URI in which {n} is replaced.
func numbered(base, uri string, n int) target {
	return target{
		Method: http.MethodGet, URL: base + strings.ReplaceAll(uri, "{n}", strconv.Itoa(n)),
		Header: http.Header{"X-Forwarded-For": {bannedClient}},
	}
}

// order is a POST that is protected by a key of its own.
func order(url, run string, n int) target {
	return target{
		Method: http.MethodPost, URL: url,
		Header: http.Header{"Idempotency-Key": {run + "-" + strconv.Itoa(n)}, "Content-Type": {"application/json"}},
		Body:   base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"order":%d}`, n)),
	}
}

// writeTargets writes n targets, a line each.
func writeTargets(w io.Writer, n int, of func(i int) target) error {
	buffered := bufio.NewWriter(w)
	encoder := json.NewEncoder(buffered)
	encoder.SetEscapeHTML(false)
	for i := range n {
		if err := encoder.Encode(of(i)); err != nil {
			return fmt.Errorf("writing targets: %w", err)
		}
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("writing targets: %w", err)
	}
	return nil
}

// attack is one run of vegeta.
type attack struct {
	rate    int // requests a second; 0: as fast as answers come, by closedWorkers
	length  time.Duration
	targets int
	of      func(i int) target
}

const (
	// closedWorkers are the clients of a closed loop: enough to keep two cores busy, too few to measure queues alone.
	closedWorkers = 32
	// openWorkers bound the clients of an open loop. One that needs more is late, and the report says so.
	openWorkers = 1024
	// reportTimeout is how long vegeta may take to encode its results.
	reportTimeout = time.Minute
)

// args are vegeta's.
func (a attack) args(targets, results string) []string {
	workers := openWorkers
	if a.rate == 0 {
		workers = closedWorkers
	}
	return []string{
		"attack", "-format=json", "-targets=" + targets, "-output=" + results, "-rate=" + strconv.Itoa(a.rate),
		"-duration=" + a.length.String(), "-timeout=" + lab.RequestTimeout.String(), "-max-body=0", "-redirects=-1",
		"-workers=" + strconv.Itoa(min(closedWorkers, workers)), "-max-workers=" + strconv.Itoa(workers),
	}
}

// run attacks, and returns what became of the requests, in the order they were sent.
func (a attack) run(ctx context.Context, program, folder string) ([]result, error) {
	targets, results := filepath.Join(folder, "targets.json"), filepath.Join(folder, "results.bin")
	file, err := os.Create(targets)
	if err != nil {
		return nil, fmt.Errorf("writing targets: %w", err)
	}
	if err := errors.Join(writeTargets(file, a.targets, a.of), file.Close()); err != nil {
		return nil, err
	}
	running, err := lab.StartCommand(exec.Command(program, a.args(targets, results)...))
	if err != nil {
		return nil, err
	}
	defer running.Stop()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(a.length + 2*lab.RequestTimeout):
		return nil, fmt.Errorf("vegeta did not end: %s", running.Log)
	case <-running.Ended:
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	text, err := exec.CommandContext(ctx, program, "encode", "-to=csv", results).Output()
	if err != nil {
		return nil, fmt.Errorf("reading vegeta's results: %w: %s", err, running.Log)
	}
	return parseResults(strings.NewReader(string(text)))
}

// result is what vegeta tells of a request.
type result struct {
	sequence int
	sent     time.Time
	latency  time.Duration
	status   int
	url      string
	problem  string
}

// parseResults reads `vegeta encode -to=csv`: time in ns, status, latency in ns, bytes out, bytes in, error, body, name,
// sequence number, method, URL, headers.
func parseResults(r io.Reader) ([]result, error) {
	const columns = 12
	reader := csv.NewReader(r)
	reader.FieldsPerRecord, reader.ReuseRecord = columns, true
	var all []result
	for {
		fields, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading vegeta's results: %w", err)
		}
		at, err1 := strconv.ParseInt(fields[0], 10, 64)
		status, err2 := strconv.Atoi(fields[1])
		latency, err3 := strconv.ParseInt(fields[2], 10, 64)
		sequence, err4 := strconv.Atoi(fields[8])
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			return nil, fmt.Errorf("reading vegeta's results: %w", err)
		}
		all = append(all, result{
			sequence: sequence, sent: time.Unix(0, at), latency: time.Duration(latency), status: status,
			url: strings.Clone(fields[10]), problem: strings.Clone(fields[5]),
		})
	}
}
