// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// path is what is asked for: small, so that the choice of an upstream is what costs.
const path = "/bytes/512"

// quietTimeout is how long the upstreams may take to finish what a proxy left behind.
const quietTimeout = time.Minute

// origins are the upstreams: one process of cmd/origin with five listeners.
type origins struct {
	running   *process
	addresses []string
	client    *http.Client
}

// startOrigins starts them and reads their addresses from what they print.
func startOrigins(ctx context.Context, program string) (*origins, error) {
	listen := strings.Repeat(",127.0.0.1:0", upstreams)[1:]
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	defer reader.Close()
	c := exec.Command(program, "--listen", listen)
	c.Stdout = writer
	p, err := startCommand(c)
	writer.Close()
	if err != nil {
		return nil, err
	}
	o := &origins{running: p, client: &http.Client{Timeout: 5 * time.Second}}
	stop := context.AfterFunc(ctx, p.stop)
	defer stop()
	lines := bufio.NewScanner(reader)
	for len(o.addresses) < upstreams && lines.Scan() {
		_, address, found := strings.Cut(lines.Text(), " http://")
		if !found {
			break
		}
		o.addresses = append(o.addresses, address)
	}
	if len(o.addresses) < upstreams {
		p.stop()
		return nil, fmt.Errorf("the upstreams did not start: %s", p.log)
	}
	return o, nil
}

// reset gives all of them the same settings, once nothing of the run before is left in them.
func (o *origins) reset(ctx context.Context, settings string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, quietTimeout, errors.New("they did not come to rest"))
	defer cancel()
	for i := range o.addresses {
		if err := o.set(ctx, http.MethodPut, i, settings); err != nil {
			return err
		}
	}
	for {
		all, err := o.stats(ctx)
		if err != nil {
			return err
		}
		if busy(all) == 0 {
			return nil
		}
		if !sleepUntil(ctx, time.Now().Add(50*time.Millisecond)) {
			return fmt.Errorf("waiting for the upstreams: %w", context.Cause(ctx))
		}
	}
}

// set changes an upstream's settings: PUT all of them, PATCH those that are named.
func (o *origins) set(ctx context.Context, method string, i int, settings string) error {
	var got json.RawMessage
	if err := o.ask(ctx, method, i, "/_origin/settings", settings, &got); err != nil {
		return fmt.Errorf("setting upstream %d to %s: %w", i+1, settings, err)
	}
	return nil
}

// stats are what an upstream tells of itself.
type stats struct {
	Requests int `json:"requests"`
	InFlight int `json:"in_flight"`
	Queued   int `json:"queued"`
}

func busy(all []stats) int {
	sum := 0
	for _, s := range all {
		sum += s.InFlight + s.Queued
	}
	return sum
}

// share of the requests between two readings that reached one upstream.
func share(before, after []stats, upstream int) float64 {
	sum := 0
	for i := range after {
		sum += after[i].Requests - before[i].Requests
	}
	return float64(after[upstream].Requests-before[upstream].Requests) / float64(max(1, sum))
}

func (o *origins) stats(ctx context.Context) ([]stats, error) {
	all := make([]stats, len(o.addresses))
	for i := range o.addresses {
		if err := o.ask(ctx, http.MethodGet, i, "/_origin/stats", "", &all[i]); err != nil {
			return nil, fmt.Errorf("reading the counters of upstream %d: %w", i+1, err)
		}
	}
	return all, nil
}

// ask speaks to one upstream, beside the proxies. These endpoints never meet a fault.
func (o *origins) ask(ctx context.Context, method string, i int, path, body string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+o.addresses[i]+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := o.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(text))
	}
	return json.Unmarshal(text, answer)
}
