// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// maxAdded is what idempotency_key may add to the median of a first run, with Redis on loopback.
const maxAdded = 150 * time.Microsecond

// sample are durations of one kind.
type sample []time.Duration

func (s sample) quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[int(q*float64(len(sorted)-1))]
}

// What is measured, each request by request with the others.
const (
	plain  = "without idempotency_key"
	first  = "first run"
	stored = "first run, given when stored"
	socket = "first run, Redis by a Unix socket"
	replay = "replay"
	ping   = "PING from the driver"
)

// measured are the figures in the order of the report.
func measured() []string { return []string{plain, first, stored, socket, replay, ping} }

// costs are what each kind took.
type costs map[string]sample

// stage is where each kind is sent, and a connection to Redis of the driver's own.
type stage struct {
	addresses map[string]string
	redis     *goredis.Client
}

// measureCost compares one proxy process with itself: sites with idempotency_key and one without, request by request. What two
// round trips to Redis take at that moment is measured in between.
func (s settings) measureCost(ctx context.Context) error {
	w := &world{settings: s}
	defer w.tearDown()
	stage, err := w.buildForCost(ctx)
	if err != nil {
		return err
	}
	defer stage.redis.Close()
	var alone time.Duration
	for _, clients := range []int{1, 8} {
		c, err := w.sendForCost(ctx, stage, clients)
		if err != nil {
			return err
		}
		c.report(clients)
		if clients == 1 {
			alone = c[first].quantile(0.5) - c[plain].quantile(0.5)
		}
	}
	if alone > maxAdded {
		return fmt.Errorf("%v are added to the median, more than %v", alone, maxAdded)
	}
	return nil
}

func (c costs) report(clients int) {
	fmt.Printf("%d at once%32s %10s %10s %10s\n", clients, "p50", "p99", "added to p50", "in PINGs")
	base, trip := c[plain].quantile(0.5), c[ping].quantile(0.5)
	for _, kind := range measured() {
		p50, p99 := c[kind].quantile(0.5), c[kind].quantile(0.99)
		fmt.Printf("  %-35s %10v %10v", kind, p50.Round(time.Microsecond), p99.Round(time.Microsecond))
		if kind != plain && kind != ping {
			fmt.Printf(" %12v %10.1f", (p50 - base).Round(time.Microsecond), float64(p50-base)/float64(trip))
		}
		fmt.Println()
	}
}

// buildForCost starts an application that behaves, a Redis without persistence, and one proxy.
func (w *world) buildForCost(ctx context.Context) (s stage, err error) {
	if w.folder, err = os.MkdirTemp("", "idempotency"); err != nil {
		return s, err
	}
	if w.app, err = startApplication(w.seed, false); err != nil {
		return s, err
	}
	address, err := freeAddress()
	if err != nil {
		return s, err
	}
	host, port, _ := strings.Cut(address, ":")
	unix := filepath.Join(w.folder, "redis.sock")
	w.redis = &process{address: address, command: func() *exec.Cmd {
		return exec.Command("redis-server", "--bind", host, "--port", port, "--unixsocket", unix, "--save", "", "--appendonly", "no")
	}}
	s.addresses = map[string]string{}
	further := map[string]string{}
	for kind, directive := range map[string]string{
		plain: "", stored: "idempotency_key {\n wait 0s\n realm stored\n}", socket: "idempotency_key {\n store redis socket\n realm socket\n}",
	} {
		if s.addresses[kind], err = freeAddress(); err != nil {
			return s, err
		}
		further[s.addresses[kind]] = directive
	}
	if err := w.buildProxy(proxyConfig{Redis: address, Socket: unix, Further: further}); err != nil {
		return s, err
	}
	s.addresses[first], s.addresses[replay] = w.proxies[0].address, w.proxies[0].address
	s.redis = goredis.NewClient(&goredis.Options{Addr: address, Protocol: 2})
	return s, w.startAll(ctx)
}

// sendForCost sends each order to all sites, in turns.
func (w *world) sendForCost(ctx context.Context, s stage, clients int) (costs, error) {
	var mu sync.Mutex
	all := costs{}
	var failed error
	var group sync.WaitGroup
	for number := range clients {
		group.Go(func() {
			c, err := s.sendOrders(ctx, fmt.Sprintf("%d-of-%d", number, clients), w.keys/clients)
			mu.Lock()
			defer mu.Unlock()
			for kind, took := range maps.All(c) {
				all[kind] = append(all[kind], took...)
			}
			failed = errors.Join(failed, err)
		})
	}
	group.Wait()
	return all, failed
}

// sendOrders sends orders one after the other. After each, a request without a key waits on its connection until the proxy is done
// with it, so that none bears what is left of the one before.
func (s stage) sendOrders(ctx context.Context, name string, orders int) (costs, error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	const warm = 200
	c := costs{}
	for n := range warm + orders {
		if n == warm {
			c = costs{}
		}
		begun := time.Now()
		if err := s.redis.Ping(ctx).Err(); err != nil {
			return c, fmt.Errorf("asking Redis: %w", err)
		}
		c[ping] = append(c[ping], time.Since(begun))
		for _, kind := range []string{plain, first, stored, socket, replay} {
			took, err := order(ctx, client, s.addresses[kind], fmt.Sprintf(`"%s-%d"`, name, n))
			if err != nil {
				return c, err
			}
			c[kind] = append(c[kind], took)
			if _, err := order(ctx, client, s.addresses[kind], ""); err != nil {
				return c, err
			}
		}
	}
	return c, nil
}

// order sends an order, with a key if that is not empty.
func order(ctx context.Context, client *http.Client, address, key string) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/orders", strings.NewReader("soap"))
	if err != nil {
		return 0, err
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	begun := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err
	}
	took := time.Since(begun)
	if resp.StatusCode != http.StatusCreated {
		return 0, fmt.Errorf("the status of an order is %d", resp.StatusCode)
	}
	return took, nil
}
