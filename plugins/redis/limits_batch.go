// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"encoding/binary"
	"fmt"
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
	key       string
	rule      *window.Rule
	give      bool
	low, high int64
	receipt   window.Receipt // of what is given back

	now   int64  // the answer: Redis' time in Unix microseconds,
	reply string // what was granted, and the state before,
	err   error  // or why there is none
}

// batch gathers the decisions of a policy that wait for Redis: the more wait, the more of them one call decides on. A cluster
// gets them one by one, as their keys lie on several nodes.
//
// A script costs Redis about three times as much as the decision that it makes, so it is this that bounds how many
// decisions one Redis makes.
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
	g := client.breaker.gate.Load()
	if g.err != nil {
		client.counts.unavailable.Inc()
		return g.err
	}
	p := client.begin(ctx, g)
	w := waiters.Get().(*waiter)
	d.done = w.done
	if err := c.board(d); err != nil {
		waiters.Put(w)
		_, err = p.finish(nil, err)
		return err
	}
	err := p.wait(w, &d.ticket)
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
	keys, args := c.plan(list)
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
	keys, args := c.plan(list)
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

// plan is what the script is told.
func (c *limitCounters) plan(list []*decision) (keys []string, args []any) {
	keys = make([]string, len(list))
	plan := make([]byte, 0, 13*len(list))
	var rules []*window.Rule
	for i, d := range list {
		n := slices.Index(rules, d.rule)
		if n < 0 {
			n = len(rules)
			rules = append(rules, d.rule)
		}
		keys[i] = d.key
		plan = binary.BigEndian.AppendUint16(plan, uint16(n))
		if d.give {
			plan = append(plan, 1)
		} else {
			plan = append(plan, 0)
		}
		plan = append5(append5(plan, d.low), d.high)
		for w := range d.rule.Windows {
			if d.give {
				plan = append6(plan, d.receipt[w])
			}
		}
	}
	always := "0"
	if c.spec.Always {
		always = "1"
	}
	args = append(make([]any, 0, 3+len(rules)), c.spec.Buckets+1, always, plan)
	for _, rule := range rules {
		text := append(make([]byte, 0, 1+11*len(rule.Windows)), byte(rule.Bytes()))
		for _, w := range rule.Windows {
			text = append6(append5(text, w.Limit), c.width(w))
		}
		args = append(args, text)
	}
	return keys, args
}

// hand gives everyone the part of the answer that is about them.
func (c *limitCounters) hand(list []*decision, cmd *goredis.Cmd) error {
	reply, err := cmd.Text()
	if err != nil || len(reply) < 7 {
		return fmt.Errorf("an unexpected answer, %q: %w", reply, errReply)
	}
	now, reply := number(reply[:7]), reply[7:]
	for _, d := range list {
		size := grantBytes + len(d.rule.Windows)*c.stateBytes(d.rule)
		if len(reply) < size {
			return fmt.Errorf("an answer that is too short: %w", errReply)
		}
		d.now, d.reply, reply = now, reply[:size], reply[size:]
	}
	return nil
}

// append5 and append6 append numbers as the script reads them; number reads one.
func append5(to []byte, n int64) []byte {
	return append(to, byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func append6(to []byte, n int64) []byte { return append5(append(to, byte(n>>40)), n) }

func number(text string) (n int64) {
	for _, b := range []byte(text) {
		n = n<<8 | int64(b)
	}
	return n
}
