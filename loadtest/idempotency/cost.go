// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
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

// costs are what requests took: passed on by the same proxy without the directive, carried out, and replayed.
type costs struct{ plain, first, replay sample }

// measureCost compares one proxy process with itself: a site with idempotency_key and one without, request by request.
func (s settings) measureCost(ctx context.Context) error {
	w := &world{settings: s}
	defer w.tearDown()
	plain, err := w.buildForCost(ctx)
	if err != nil {
		return err
	}
	floor, err := scriptTime(ctx, w.redis.address)
	if err != nil {
		return err
	}
	fmt.Printf("a script that does nothing, from the driver to Redis and back: p50 %v\n", floor.quantile(0.5))
	var alone time.Duration
	for _, clients := range []int{1, 8} {
		c, err := w.sendForCost(ctx, plain, clients)
		if err != nil {
			return err
		}
		added := c.first.quantile(0.5) - c.plain.quantile(0.5)
		fmt.Printf("%d at once, p50 and p99: without %v %v, first %v %v, replay %v %v; added to p50: first %v, replay %v\n", clients,
			c.plain.quantile(0.5), c.plain.quantile(0.99), c.first.quantile(0.5), c.first.quantile(0.99),
			c.replay.quantile(0.5), c.replay.quantile(0.99), added, c.replay.quantile(0.5)-c.plain.quantile(0.5))
		if clients == 1 {
			alone = added
		}
	}
	if alone > maxAdded {
		return fmt.Errorf("%v are added to the median, more than %v", alone, maxAdded)
	}
	return nil
}

// buildForCost starts an application that behaves, a Redis without persistence, and one proxy; it returns the address of the
// site without the directive.
func (w *world) buildForCost(ctx context.Context) (plain string, err error) {
	if w.app, err = startApplication(w.seed, false); err != nil {
		return "", err
	}
	address, err := freeAddress()
	if err != nil {
		return "", err
	}
	host, port, _ := strings.Cut(address, ":")
	w.redis = &process{address: address, command: func() *exec.Cmd {
		return exec.Command("redis-server", "--bind", host, "--port", port, "--save", "", "--appendonly", "no")
	}}
	if plain, err = freeAddress(); err != nil {
		return "", err
	}
	if err := w.buildProxy(address, plain); err != nil {
		return "", err
	}
	return plain, w.startAll(ctx)
}

// scriptTime is what a round trip to Redis takes at least.
func scriptTime(ctx context.Context, address string) (took sample, err error) {
	client := goredis.NewClient(&goredis.Options{Addr: address, Protocol: 2})
	defer client.Close()
	script := goredis.NewScript("return 1")
	for range 2000 {
		begun := time.Now()
		if err := script.Run(ctx, client, []string{"key"}).Err(); err != nil {
			return nil, fmt.Errorf("asking Redis: %w", err)
		}
		took = append(took, time.Since(begun))
	}
	return took, nil
}

// sendForCost sends each order to both sites, in turns, and then again to be replayed.
func (w *world) sendForCost(ctx context.Context, plain string, clients int) (costs, error) {
	var mu sync.Mutex
	var all costs
	var failed error
	var group sync.WaitGroup
	for number := range clients {
		group.Go(func() {
			c, err := w.clientForCost(ctx, plain, fmt.Sprintf("%d-of-%d", number, clients), w.keys/clients)
			mu.Lock()
			defer mu.Unlock()
			all.plain, all.first, all.replay = append(all.plain, c.plain...), append(all.first, c.first...), append(all.replay, c.replay...)
			failed = errors.Join(failed, err)
		})
	}
	group.Wait()
	return all, failed
}

func (w *world) clientForCost(ctx context.Context, plain, name string, orders int) (c costs, err error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	const warm = 200
	for n := range warm + orders {
		if n == warm {
			c = costs{}
		}
		for _, turn := range []struct {
			address string
			took    *sample
		}{{plain, &c.plain}, {w.proxies[0].address, &c.first}, {w.proxies[0].address, &c.replay}} {
			took, err := order(ctx, client, turn.address, fmt.Sprintf("%s-%d", name, n))
			if err != nil {
				return c, err
			}
			*turn.took = append(*turn.took, took)
		}
	}
	return c, nil
}

func order(ctx context.Context, client *http.Client, address, key string) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/orders", strings.NewReader("soap"))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Idempotency-Key", `"`+key+`"`)
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
