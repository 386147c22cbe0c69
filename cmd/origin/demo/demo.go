// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package demo is `origin demo`, which `make run` runs: two demo applications in this process, the proxy before them as
// its child, and three lines to try. It leaves no process and no file behind.
package demo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/gatehouse-proxy/gatehouse/cmd/origin/origin"
)

const (
	// readyTimeout is how long the proxy may take from its start to its first answer.
	readyTimeout = 20 * time.Second
	// stopTimeout bounds stopping the applications; see also killAfter.
	stopTimeout = time.Second
)

// settings are the command line.
type settings struct {
	gatehouse string // the proxy's program
	caddyfile string // what it runs
	port      int    // where it serves
	adminPort int    // where its admin endpoint listens
}

// Run is the program: it serves until ctx ends. The result is the exit status: 2 for a wrong command line, 1 for a failure.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	status := 2
	if err == nil {
		status, err = 1, s.serve(ctx, stdout, stderr)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "demo: %v\n", err) // with stderr gone, the status is what remains
		return status
	}
	return 0
}

func parse(args []string, help io.Writer) (settings, error) {
	var s settings
	set := flag.NewFlagSet("origin demo", flag.ContinueOnError)
	set.SetOutput(io.Discard) // the error is printed once, in one line, by Run
	set.StringVar(&s.gatehouse, "gatehouse", "bin/gatehouse", "the proxy's `program`")
	set.StringVar(&s.caddyfile, "config", "caddyfiles/demo.caddyfile", "the `Caddyfile` that the proxy runs")
	set.IntVar(&s.port, "port", 8080, "the `port` of 127.0.0.1 that the proxy serves")
	set.IntVar(&s.adminPort, "admin-port", 2019, "the `port` of 127.0.0.1 for its admin endpoint")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			set.SetOutput(help)
			set.PrintDefaults()
		}
		return s, err
	}
	if set.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	if min(s.port, s.adminPort) < 1 || max(s.port, s.adminPort) > 65535 || s.port == s.adminPort {
		return s, errors.New("--port and --admin-port must be two different ports from 1 to 65535")
	}
	return s, nil
}

// serve starts everything, prints the examples and waits for the end of ctx or of the proxy.
func (s settings) serve(ctx context.Context, stdout, stderr io.Writer) error {
	if err := checkFree("--port", s.port); err != nil {
		return err
	}
	if err := checkFree("--admin-port", s.adminPort); err != nil {
		return err
	}
	applications, stop, err := startApplications(ctx)
	defer stop()
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "gatehouse-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for what the proxy keeps: %w", err)
	}
	defer os.RemoveAll(folder)
	p, err := s.startProxy(applications, folder, stderr)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.ready(ctx, s.url()); err != nil || ctx.Err() != nil {
		return err
	}
	if err := s.announce(stdout); err != nil {
		return fmt.Errorf("printing what to try: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-p.ended:
		if ctx.Err() != nil {
			return nil // Ctrl-C reaches the proxy as well, which may be the first to end
		}
		return errors.New("the proxy ended")
	}
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func (s settings) url() string      { return "http://" + address(s.port) }
func (s settings) adminURL() string { return "http://" + address(s.adminPort) }

// checkFree finds a taken port before the proxy does, which would share it with a Caddy that runs already.
func checkFree(option string, port int) error {
	l, err := net.Listen("tcp", address(port))
	if err != nil {
		return fmt.Errorf("port %d is taken (%w); stop what listens there or give another one with %s", port, err, option)
	}
	return l.Close()
}

// startApplications serves the two demo applications on free ports. Stop them also if it fails.
func startApplications(ctx context.Context) (addresses []string, stop func(), err error) {
	var servers []*origin.Server
	stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		for _, s := range servers {
			_ = s.Stop(ctx) // what it says is that requests were cut, which is what stopping is for
		}
	}
	app := origin.NewApp(origin.Options{})
	for _, name := range []string{"a", "b"} {
		l, err := app.Listener(name, origin.Settings{})
		if err != nil {
			return nil, stop, err
		}
		s, err := origin.Start(ctx, l, "127.0.0.1:0")
		if err != nil {
			return nil, stop, err
		}
		servers = append(servers, s)
		addresses = append(addresses, s.URL()[len("http://"):])
	}
	return addresses, stop, nil
}

// ready waits until the proxy answers, or ctx ends.
func (p *proxy) ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !answers(ctx, url) {
		select {
		case <-p.ended:
			return errors.New("the proxy did not start; its own message stands above")
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("the proxy did not answer within %s", readyTimeout)
			}
			return nil
		case <-tick.C:
		}
	}
	return nil
}

func answers(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/healthz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
