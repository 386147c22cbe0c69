// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Command origin is a small upstream application for demos, tests and load: a server to stand behind a proxy, whose
// latency, errors and other misbehavior are set for each of its listeners, at start and while it runs.
//
//	origin --listen 127.0.0.1:9001,127.0.0.1:9002 --name a,b --workers 4 --latency exp:10ms --latency lognormal:50ms,1
//
// It prints one line a listener, with the real address, and stops within two seconds of SIGINT or SIGTERM:
//
//	listening a http://127.0.0.1:9001
//	listening b http://127.0.0.1:9002
//
// `origin demo` starts the proxy before two listeners of its own, as make run does; see package demo.
//
// # Endpoints
//
// Every response carries X-Origin with the listener's name. Those that meet the listener's latency and faults:
//
//	ANY  /, /echo/...          what arrived: name, method, uri, host, remote, body_bytes, headers, as JSON
//	ANY  /status/{code}        that status, 200 to 599
//	ANY  /delay/{duration}     200 after a wait of at most 10m, besides the latency
//	GET  /bytes/{size}         pseudo-random bytes up to 4 GiB, the same each time, with ranges;
//	                           ?chunked leaves out Content-Length, ?piece=1024&pause=100ms trickles
//	GET  /cache                the names of the kinds below
//	GET  /cache/{kind}         a resource with caching headers; ?age=60 sets the lifetime in seconds, ?size the bytes
//	POST /cache/{kind}         changes it: the next GET has another version, ETag and Last-Modified
//	POST /orders               takes effect once, for the key in Idempotency-Key or ?key=; PATCH does the same
//	POST /ingest               receives log lines, plain or gzip
//	GET  /sse                  ?count=5 events at an ?interval=100ms that repeat ?message
//	GET  /ws                   WebSocket that sends every message back
//
// Those that steer and observe, and never fail on purpose:
//
//	GET, DELETE /orders        how often each key took effect; starts over
//	GET, DELETE /ingest        how many lines, bytes and batches arrived; starts over
//	GET  /_origin/settings     the settings of the listener that is asked
//	PUT, PATCH                 replaces them all; changes those that are named
//	GET  /_origin/stats        requests, requests in flight and queued, faults so far
//	GET  /healthz              200, or 503 if the settings say unhealthy
//
// The settings are described at origin.Settings, the flags by --help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/gatehouse-proxy/gatehouse/cmd/origin/demo"
	"github.com/gatehouse-proxy/gatehouse/cmd/origin/origin"
)

// stopTimeout leaves room within the promised two seconds to cut what did not end by itself.
const stopTimeout = time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program without its process. The result is the exit status: 2 for a wrong command line, 1 for a failure.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "demo" {
		return demo.Run(ctx, args[1:], stdout, stderr)
	}
	p, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	var listeners []*origin.Listener
	if err == nil {
		listeners, err = p.listeners()
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "origin: %v\n", err) // with stderr gone, the status is what remains
		return 2
	}
	if err := serve(ctx, listeners, p.addresses, stdout); err != nil {
		_, _ = fmt.Fprintf(stderr, "origin: %v\n", err)
		return 1
	}
	return 0
}

// serve runs until ctx ends or a server fails. It stops what it has started.
func serve(ctx context.Context, listeners []*origin.Listener, addresses []string, stdout io.Writer) (err error) {
	var servers []*origin.Server
	defer func() { stopAll(servers) }()
	for i, l := range listeners {
		s, err := origin.Start(ctx, l, addresses[i])
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	failed := make(chan error, len(servers))
	for i, s := range servers {
		if _, err := fmt.Fprintf(stdout, "listening %s %s\n", listeners[i].Name(), s.URL()); err != nil {
			return fmt.Errorf("telling the addresses: %w", err)
		}
		go func() { failed <- <-s.Done() }()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	}
}

// stopAll drops the errors: they say that requests were cut, such as stalled ones, which is what stopping is for.
func stopAll(servers []*origin.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, s := range servers {
		all.Go(func() { _ = s.Stop(ctx) })
	}
	all.Wait()
}
