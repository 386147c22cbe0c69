// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// refreshMasters is how often the prober looks which masters a cluster has.
const refreshMasters = time.Second

// target is what a prober asks: the server, the master that the sentinels name, or every master of a cluster. A cluster is
// up when all its masters are: with one missing it refuses either everything (its default) or a part of the keys, and
// which key fails is nothing that a request could act upon.
type target struct {
	settings *settings
	learn    func([]Facts)

	mu     sync.Mutex // guards client and closed: close comes from another goroutine
	client goredis.UniversalClient
	closed bool

	// Of the prober's goroutine.
	masters []*goredis.Client
	listed  time.Time
	known   bool // the facts about this client's servers were learned
}

// probe asks every server. After a failure the next probe starts with fresh connections, as the driver remembers failures.
func (t *target) probe(ctx context.Context) error {
	client := t.connect()
	if client == nil {
		return ErrClosed
	}
	err := t.ask(ctx, client)
	if err != nil && !isTimeout(err) && !isReply(err) && ctx.Err() == nil {
		// The server, or something between, may have dropped an idle connection: that is no outage yet.
		t.reset()
		if client = t.connect(); client == nil {
			return ErrClosed
		}
		err = t.ask(ctx, client)
	}
	if err != nil {
		t.reset()
	}
	return err
}

func (t *target) ask(ctx context.Context, client goredis.UniversalClient) error {
	masters, err := t.servers(ctx, client)
	if err != nil {
		return err
	}
	err = each(masters, func(c *goredis.Client) error { return c.Ping(ctx).Err() })
	if err != nil || t.known {
		return err
	}
	facts, err := inquire(ctx, masters)
	if err != nil {
		return err
	}
	t.known = true
	t.learn(facts)
	return nil
}

// servers returns a client for each server to ask.
func (t *target) servers(ctx context.Context, client goredis.UniversalClient) ([]*goredis.Client, error) {
	cluster, ok := client.(*goredis.ClusterClient)
	if !ok {
		return []*goredis.Client{client.(*goredis.Client)}, nil
	}
	if t.masters != nil && time.Since(t.listed) < refreshMasters {
		return t.masters, nil
	}
	var mu sync.Mutex
	var masters []*goredis.Client
	err := cluster.ForEachMaster(ctx, func(_ context.Context, c *goredis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		masters = append(masters, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the masters of the cluster: %w", err)
	}
	if len(masters) == 0 {
		return nil, errors.New("the cluster has no masters")
	}
	t.masters, t.listed = masters, time.Now()
	return masters, nil
}

// each calls f for every server at once and returns the first failure, with the server's address where there are several.
func each(servers []*goredis.Client, f func(*goredis.Client) error) error {
	if len(servers) == 1 {
		return f(servers[0])
	}
	errs := make(chan error, len(servers))
	for _, c := range servers {
		go func() {
			err := f(c)
			if err != nil {
				err = fmt.Errorf("%s: %w", c.Options().Addr, err)
			}
			errs <- err
		}()
	}
	var first error
	for range servers {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (t *target) connect() goredis.UniversalClient {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	if t.client == nil {
		t.client = goredis.NewUniversalClient(t.settings.probeOptions())
	}
	return t.client
}

// reset forgets the connections.
func (t *target) reset() {
	t.masters, t.known = nil, false
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop()
}

// close ends a running probe, too.
func (t *target) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.drop()
}

// drop closes the client; t.mu is held.
func (t *target) drop() {
	if t.client != nil {
		_ = t.client.Close() // its connections are of no use any more, whatever closing them says
		t.client = nil
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
