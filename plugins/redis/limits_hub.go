// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/lease"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
)

const (
	// hubTick is how often what is kept here is looked after.
	hubTick = 100 * time.Millisecond
	// heartbeat is how often a proxy says that it lives, and silence after how long it counts as gone.
	heartbeat, silence = time.Second, 3500 * time.Millisecond
	// together is how many commands of a tender are on their way at a time: the client sends them in batches.
	together = 64
)

var (
	//go:embed limits_proxies.lua
	proxiesSource string
	proxiesScript = NewScript(proxiesSource)
)

// hub is what all policies of one client share: who else counts there, and a goroutine that looks after what is kept here.
// Its goroutine begins with the first request, as a config that is only validated dials nothing.
type hub struct {
	client  *Client
	held    lease.Lease // of the client: what is given back at the end needs it
	name    string
	id      string
	key     string
	proxies atomic.Int64 // 0 is not known

	begun atomic.Bool
	mu    sync.Mutex // guards the rest
	tends map[*tended]struct{}
	stop  context.CancelFunc // nil before the goroutine begins
	done  chan struct{}
	over  bool
}

// tender keeps something here that is to be looked after.
type tender interface {
	reqlimit.Counters
	// tick is called every hubTick, from one goroutine.
	tick(ctx context.Context)
	// end gives everything back.
	end(ctx context.Context)
}

// tended is a tender and where it is looked after.
type tended struct {
	tender tender
	hub    *hub
	held   lease.Lease
}

// takeHub returns the client's hub.
func takeHub(client *Client) (*hub, lease.Lease, error) {
	name := "hub " + client.settings.key()
	return lease.Take(limitPool, name, func() (*hub, error) {
		_, held, err := lease.Take(clients, client.settings.key(), func() (*Client, error) { return client, nil })
		if err != nil {
			return nil, fmt.Errorf("holding the client: %w", err)
		}
		id := rand.Text()[:12]
		return &hub{
			client: client, held: held, name: name, id: id, key: client.Key("proxies"), tends: map[*tended]struct{}{},
		}, nil
	})
}

// tend looks after t until it is destructed.
func (h *hub) tend(t tender) (*tended, error) {
	_, held, err := takeHub(h.client)
	if err != nil {
		return nil, err
	}
	w := &tended{tender: t, hub: h, held: held}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tends[w] = struct{}{}
	return w, nil
}

// Destruct implements caddy.Destructor: what was kept here is given back.
func (w *tended) Destruct() error {
	w.hub.mu.Lock()
	delete(w.hub.tends, w)
	w.hub.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	w.tender.end(ctx)
	return w.held.Release()
}

// begin starts the goroutine, with the first request.
func (h *hub) begin() {
	if h.begun.Load() || !h.begun.CompareAndSwap(false, true) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.stop, h.done = cancel, make(chan struct{})
	go h.run(ctx)
}

// run looks after everything until ctx is done.
func (h *hub) run(ctx context.Context) {
	defer close(h.done)
	ticker := time.NewTicker(hubTick)
	defer ticker.Stop()
	var said time.Time
	for {
		if time.Since(said) >= heartbeat {
			said = time.Now()
			h.say(ctx, "0")
		}
		for _, w := range h.all() {
			w.tender.tick(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// say says that this proxy lives, or goes, and learns how many do. While Redis is away the last number stays.
func (h *hub) say(ctx context.Context, goes string) {
	cmd, err := h.client.Run(ctx, proxiesScript, []string{h.key}, h.id, silence.Milliseconds(), goes)
	if err != nil {
		return
	}
	if n, err := cmd.Int64(); err == nil && n > 0 {
		h.proxies.Store(n)
	}
}

func (h *hub) all() []*tended {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]*tended, 0, len(h.tends))
	for w := range h.tends {
		list = append(list, w)
	}
	return list
}

// Destruct implements caddy.Destructor.
func (h *hub) Destruct() error {
	h.mu.Lock()
	h.over = true
	stop, done := h.stop, h.done
	h.mu.Unlock()
	if stop != nil {
		stop()
		<-done
		h.say(context.Background(), "1")
	}
	return h.held.Release()
}

// severally calls f with all entries, several at a time.
func severally[T any](list []T, f func(T)) {
	var group sync.WaitGroup
	next := make(chan T)
	for range min(together, len(list)) {
		group.Go(func() {
			for entry := range next {
				f(entry)
			}
		})
	}
	for _, entry := range list {
		next <- entry
	}
	close(next)
	group.Wait()
}
