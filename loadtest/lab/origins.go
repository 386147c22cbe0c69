// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package lab

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

// quietTimeout is how long the upstreams may take to finish what a proxy left behind.
const quietTimeout = time.Minute

// Origins are upstreams: one process of cmd/origin with a listener each.
type Origins struct {
	Running   *Process
	Addresses []string
	client    *http.Client
}

// StartOrigins starts so many of them, with more flags of cmd/origin, and reads their addresses from what they print.
func StartOrigins(ctx context.Context, program string, upstreams int, flags ...string) (*Origins, error) {
	listen := strings.Repeat(",127.0.0.1:0", upstreams)[1:]
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	defer reader.Close()
	c := exec.Command(program, append([]string{"--listen", listen}, flags...)...)
	c.Stdout = writer
	p, err := StartCommand(c)
	writer.Close()
	if err != nil {
		return nil, err
	}
	o := &Origins{Running: p, client: &http.Client{Timeout: 5 * time.Second}}
	stop := context.AfterFunc(ctx, p.Stop)
	defer stop()
	lines := bufio.NewScanner(reader)
	for len(o.Addresses) < upstreams && lines.Scan() {
		_, address, found := strings.Cut(lines.Text(), " http://")
		if !found {
			break
		}
		o.Addresses = append(o.Addresses, address)
	}
	if len(o.Addresses) < upstreams {
		p.Stop()
		return nil, fmt.Errorf("the upstreams did not start: %s", p.Log)
	}
	return o, nil
}

// Reset gives all of them the same settings, once nothing of the run before is left in them.
func (o *Origins) Reset(ctx context.Context, settings string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, quietTimeout, errors.New("they did not come to rest"))
	defer cancel()
	for i := range o.Addresses {
		if err := o.Set(ctx, http.MethodPut, i, settings); err != nil {
			return err
		}
	}
	for {
		all, err := o.Stats(ctx)
		if err != nil {
			return err
		}
		if busy(all) == 0 {
			return nil
		}
		if !SleepUntil(ctx, time.Now().Add(50*time.Millisecond)) {
			return fmt.Errorf("waiting for the upstreams: %w", context.Cause(ctx))
		}
	}
}

// Set changes an upstream's settings: PUT all of them, PATCH those that are named.
func (o *Origins) Set(ctx context.Context, method string, i int, settings string) error {
	var got json.RawMessage
	if err := o.Ask(ctx, method, i, "/_origin/settings", settings, &got); err != nil {
		return fmt.Errorf("setting upstream %d to %s: %w", i+1, settings, err)
	}
	return nil
}

// Stats are what an upstream tells of itself.
type Stats struct {
	Requests int `json:"requests"`
	InFlight int `json:"in_flight"`
	Queued   int `json:"queued"`
}

func busy(all []Stats) int {
	sum := 0
	for _, s := range all {
		sum += s.InFlight + s.Queued
	}
	return sum
}

// Share of the requests between two readings that reached one upstream.
func Share(before, after []Stats, upstream int) float64 {
	sum := 0
	for i := range after {
		sum += after[i].Requests - before[i].Requests
	}
	return float64(after[upstream].Requests-before[upstream].Requests) / float64(max(1, sum))
}

// Stats reads the counters of all of them.
func (o *Origins) Stats(ctx context.Context) ([]Stats, error) {
	all := make([]Stats, len(o.Addresses))
	for i := range o.Addresses {
		if err := o.Ask(ctx, http.MethodGet, i, "/_origin/stats", "", &all[i]); err != nil {
			return nil, fmt.Errorf("reading the counters of upstream %d: %w", i+1, err)
		}
	}
	return all, nil
}

// Ask speaks to one upstream, beside the proxies. These endpoints never meet a fault.
func (o *Origins) Ask(ctx context.Context, method string, i int, path, body string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+o.Addresses[i]+path, strings.NewReader(body))
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
