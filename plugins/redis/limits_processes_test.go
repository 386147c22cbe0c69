// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/memory"
)

// racyStore is the control of TestProcessesAdmitExactly: it reads a count, compares, and then counts, as a store that is not
// atomic does. The test must catch it.
type racyStore struct {
	client *Client
	policy string
}

func init() { caddy.RegisterModule(racyStore{}) }

func (racyStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: reqlimit.Namespace + ".test_racy", New: func() caddy.Module { return new(racyStore) }}
}

func (s *racyStore) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (s *racyStore) Provision(ctx caddy.Context) error {
	app, err := ctx.App("redis")
	if err == nil {
		s.client, err = app.(*App).Client("")
	}
	return err
}

func (s *racyStore) Open(spec reqlimit.Spec) (reqlimit.Counters, error) {
	return &racyStore{s.client, spec.Policy}, nil
}

func (s *racyStore) Take(ctx context.Context, ask *reqlimit.Ask, result *window.Result) error {
	key := s.client.Key("racy", string(ask.Key))
	n := 0
	if cmd, err := s.client.Do(ctx, "GET", key); err == nil {
		n, _ = cmd.Int()
	}
	result.Allowed, result.Violated, result.Retry = true, -1, 0
	if int64(n) >= ask.Rule.Windows[0].Limit {
		result.Refuse(0, time.Second)
		return nil
	}
	_, err := s.client.Do(ctx, "INCR", key)
	return err
}

func (s *racyStore) Give(context.Context, *reqlimit.Ask, *window.Receipt) error { return nil }
func (s *racyStore) Reset(context.Context, *reqlimit.Ask) error                 { return nil }

// proxyConfig names the file with the config of a process that TestProxyProcess is to run.
const proxyConfig = "GATEHOUSE_TEST_PROXY_CONFIG"

// TestProxyProcess is a proxy in a process of its own, when the tests below start it as one.
func TestProxyProcess(t *testing.T) {
	file := os.Getenv(proxyConfig)
	if file == "" {
		return
	}
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	fmt.Println("serving")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test that started it ends, or ends it
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
}

// startProxy runs a Caddyfile's site :8080 in a process of its own, and returns the site's URL.
func startProxy(t testing.TB, text string) string {
	t.Helper()
	adapted, err := gatehousetest.Adapt(text)
	if err != nil {
		t.Fatal(err)
	}
	address := gatehousetest.FreeAddress(t)
	adapted = bytes.ReplaceAll(adapted, []byte(`":8080"`), []byte(`"`+address+`"`))
	var cfg map[string]any
	if err := json.Unmarshal(adapted, &cfg); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg["admin"] = map[string]any{"disabled": true, "config": map[string]any{"persist": false}}
	cfg["storage"] = map[string]any{"module": "file_system", "root": dir}
	config, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	file := dir + "/config.json"
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestProxyProcess$", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), proxyConfig+"="+file)
	cmd.SysProcAttr = gatehousetest.DieWithParent()
	var log bytes.Buffer
	cmd.Stderr = &log
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("a proxy process: %v\n%s", err, log.String())
		}
		for line := range strings.Lines(log.String()) { // which it should not say
			if strings.Contains(line, "redis is") || strings.Contains(line, "store of limits") {
				t.Log(strings.TrimSpace(line))
			}
		}
	})
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || lines.Text() != "serving" {
		t.Fatalf("a proxy process does not serve: %q\n%s", lines.Text(), log.String())
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	return "http://" + address
}

const (
	fleetLimit       = 100
	fleetProxies     = 4
	fleetConnections = 200 // of each of as many generators as there are proxies
	fleetRounds      = 10
	fleetRequests    = 4 // a round, on each connection
)

// fleetPeriod is the limit's window: 30 s where figures are measured, and elsewhere as long as a round may take on a busy machine.
func fleetPeriod() time.Duration {
	if figuresCount() {
		return 30 * time.Second
	}
	return 10 * time.Minute
}

// fleetRedis is the global option of the proxies: the default one where figures are measured, and elsewhere a patient one, as
// a machine that is busy for long makes any Redis look silent.
func fleetRedis(url string) string {
	if figuresCount() {
		return "redis " + url
	}
	return option(url)
}

// fleet starts proxies that share a policy with a limit of 100, and a key a round.
func fleet(t *testing.T, server *gatehousetest.Redis, store string) []string {
	t.Helper()
	urls := make([]string, fleetProxies)
	for i := range urls {
		urls[i] = startProxy(t, fmt.Sprintf(`{
			%s
			metrics
		}
		:8080 {
			metrics /metrics
			@limited not path /metrics
			request_limit @limited fleet {
				key {header.X-Round}
				window %d %s
				store %s
			}
			respond @limited ok
		}`, fleetRedis(server.URL()), fleetLimit, fleetPeriod(), store))
	}
	return urls
}

// generator sends requests to one proxy from many connections, open before the first round begins.
type generator struct {
	url    string
	client *http.Client
}

func newGenerator(t *testing.T, url string) *generator {
	transport := &http.Transport{
		MaxIdleConnsPerHost: fleetConnections, MaxConnsPerHost: fleetConnections,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &generator{url, &http.Client{Transport: transport, Timeout: time.Minute}}
}

// get returns the status of one request.
func (g *generator) get(round string) (int, error) {
	req, err := http.NewRequest(http.MethodGet, g.url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Round", round)
	resp, err := g.client.Do(req)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Body.Close()
}

// round lets every connection of every generator send some requests, and returns how many were admitted.
func round(t *testing.T, generators []*generator, name string, each int) int64 {
	t.Helper()
	var admitted, failed atomic.Int64
	var group sync.WaitGroup
	begin := make(chan struct{})
	for _, g := range generators {
		for range fleetConnections {
			group.Go(func() {
				<-begin
				for range each {
					switch status, err := g.get(name); {
					case err != nil || status >= 500:
						failed.Add(1)
					case status == 200:
						admitted.Add(1)
					}
				}
			})
		}
	}
	begun := time.Now()
	close(begin)
	group.Wait()
	if took := time.Since(begun); took > fleetPeriod()*5/6 {
		t.Errorf("round %s took %v: its window may have moved on", name, took)
	}
	if failed.Load() > 0 {
		t.Errorf("round %s: %d requests failed", name, failed.Load())
	}
	return admitted.Load()
}

// rounds runs all rounds against a fleet with a store, and returns what each admitted.
func rounds(t *testing.T, store string) (admitted []int64) {
	t.Helper()
	server := gatehousetest.StartRedis(t)
	urls := fleet(t, server, store)
	var generators []*generator
	for _, url := range urls {
		generators = append(generators, newGenerator(t, url))
	}
	round(t, generators, "warm-up", 1)
	for i := range sized(fleetRounds, 2) {
		admitted = append(admitted, round(t, generators, fmt.Sprint("round ", i), fleetRequests))
	}
	t.Logf("%s: %v of %d requests a round were admitted", store, admitted, fleetRequests*fleetConnections*fleetProxies)
	for _, url := range urls {
		if n := fallbacks(t, url); n != 0 {
			t.Errorf("%s fell back %d times while Redis was well", url, n)
		}
	}
	return admitted
}

// fallbacks is how many requests a proxy decided on without the store.
func fallbacks(t *testing.T, url string) int {
	t.Helper()
	resp, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Contains(text, []byte(`gatehouse_request_limit_requests_total{`)) {
		t.Fatalf("no metrics: %v", err)
	}
	total := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "gatehouse_request_limit_requests_total{") && !strings.Contains(line, `mode="store"`) {
			var n float64
			_, _ = fmt.Sscan(line[strings.LastIndex(line, " "):], &n)
			total += int(n)
		}
	}
	return total
}

// TestProcessesAdmitExactly lets four proxies, each with a generator of 200 connections, share a limit of 100, in 30 s where
// figures are measured.
func TestProcessesAdmitExactly(t *testing.T) {
	for _, algorithm := range []string{"sliding", "exact"} {
		t.Run("atomic "+algorithm, func(t *testing.T) {
			for i, n := range rounds(t, "redis\nalgorithm "+algorithm) {
				if n != fleetLimit {
					t.Errorf("round %d admitted %d, want exactly %d", i, n, fleetLimit)
				}
			}
		})
	}
	t.Run("lease", func(t *testing.T) {
		for i, n := range rounds(t, "redis {\n mode lease\n}") {
			if n < 98 || n > 105 {
				t.Errorf("round %d admitted %d, want 98 to 105", i, n)
			}
		}
	})
	t.Run("control", func(t *testing.T) {
		over := 0
		for _, n := range rounds(t, "test_racy") {
			if n > fleetLimit {
				over++
			}
		}
		if over == 0 {
			t.Error("a store that reads and then counts passed: the harness cannot tell")
		}
	})
}
