// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"slices"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

const (
	// maxBatch is how many decisions one call of a script makes. It bounds for how long others wait for Redis meanwhile.
	maxBatch = 64
	// maxFlights is how many calls are on their way at a time: while Redis works on one, answers of the other are handed out.
	maxFlights = 2
)

// decision is one of several that one call of a script makes.
type decision struct {
	ticket
	keys      []string
	rule      *window.Rule
	give      bool
	low, high int64
	receipt   window.Receipt // of what is given back

	granted int64  // the answer: -1 is a refusal
	now     int64  // Redis' time in Unix microseconds
	state   string // what the script says of the windows
	err     error  // why there is no answer
}

// batch gathers the decisions of a policy that wait for Redis: the more wait, the more of them one call decides on. A cluster
// gets them one by one, as their keys lie on several nodes.
//
// Redis has one processor for everybody, and to begin and end a script costs it more than most decisions: sharing that is what
// raises the number of decisions that one Redis makes.
type batch struct {
	mu      sync.Mutex // guards the rest
	queue   []*decision
	flights int
}

// decide has Redis decide, and waits for it no longer than Client.Run does.
func (c *limitCounters) decide(ctx context.Context, d *decision) error {
	client := c.hub.client
	if client.settings.Mode == modeCluster {
		return c.decideAlone(ctx, d)
	}
	p, err := client.begin(ctx)
	if err != nil {
		return err
	}
	w := waiters.Get().(*waiter)
	d.done = w.done
	if err := c.board(d); err != nil {
		waiters.Put(w)
		_, err = p.finish(nil, err)
		return err
	}
	err = p.wait(w, &d.ticket)
	if err == nil {
		waiters.Put(w)
		err = d.err
	}
	_, err = p.finish(nil, err)
	return err
}

// decideAlone has Redis make one decision.
func (c *limitCounters) decideAlone(ctx context.Context, d *decision) error {
	list := []*decision{d}
	keys, args := c.ask(list)
	cmd, err := c.hub.client.Run(ctx, c.script, keys, args...)
	if err != nil {
		return err
	}
	return c.hand(list, cmd)
}

// board puts a decision into the queue, and sees that it is looked after.
func (c *limitCounters) board(d *decision) error {
	b := &c.batch
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) >= c.hub.client.settings.Queue {
		return ErrBusy
	}
	b.queue = append(b.queue, d)
	if b.flights < maxFlights {
		b.flights++
		go c.fly()
	}
	return nil
}

// fly has Redis decide on what is in the queue, until nothing is.
func (c *limitCounters) fly() {
	for list := c.batch.next(); len(list) > 0; list = c.batch.next() {
		cmd, err := c.send(list)
		if err == nil {
			err = c.hand(list, cmd)
		}
		for _, d := range list {
			d.err = err
			d.complete()
		}
	}
}

// next takes the next decisions out of the queue, without those that nobody waits for any more. If there are none, a flight
// is over.
func (b *batch) next() []*decision {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]*decision, 0, min(maxBatch, len(b.queue)))
	taken := 0
	for _, d := range b.queue {
		if len(list) == maxBatch {
			break
		}
		if taken++; d.depart() {
			list = append(list, d)
		}
	}
	b.queue = slices.Delete(b.queue, 0, taken)
	if len(list) == 0 {
		b.flights--
	}
	return list
}

// send asks Redis on a connection of this flight's own.
func (c *limitCounters) send(list []*decision) (*goredis.Cmd, error) {
	l, err := c.hub.client.connect()
	if err != nil {
		return nil, err
	}
	keys, args := c.ask(list)
	ctx := context.Background() // the driver's timeouts bound it
	cmd := c.script.command(ctx, "evalsha", c.script.sha, keys, args)
	if err = l.universal.Process(ctx, cmd); goredis.HasErrorPrefix(err, "NOSCRIPT") {
		cmd = c.script.command(ctx, "eval", c.script.source, keys, args)
		err = l.universal.Process(ctx, cmd)
	}
	if err != nil {
		return answer(cmd, err)
	}
	return cmd, nil
}
