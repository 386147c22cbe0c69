// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// call is a command on its way through the pipeline. The driver completes batches, not commands, and its way to wait for one
// knows no breaker; so a hook completes calls.
type call struct {
	*goredis.Cmd
	ticket
}

// ticket says how far something is on its way, and wakes the one who waits for it.
type ticket struct {
	done  chan<- struct{} // of capacity 1; nil for a command that its caller sends itself
	state atomic.Int32
}

// Values of ticket.state.
const (
	waiting   int32 = iota // in the queue
	sent                   // on its way to the server
	abandoned              // left the queue unsent: nobody waits for it any more
	completed              // done has its signal
)

// NoRetry keeps the driver from sending a command again that may have been carried out: it may be a count.
func (*call) NoRetry() bool { return true }

// depart reports whether somebody still waits, so that it is to be sent.
func (t *ticket) depart() bool { return t.state.CompareAndSwap(waiting, sent) }

// complete wakes the one who waits, once: done is another's afterwards.
func (t *ticket) complete() {
	if t.state.Swap(completed) != completed && t.done != nil {
		t.done <- struct{}{}
	}
}

// waiter is what waiting takes. It is reused, unless its call may still complete.
type waiter struct {
	done  chan struct{}
	timer *time.Timer
}

var waiters = sync.Pool{New: func() any {
	w := &waiter{done: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	w.timer.Stop()
	return w
}}

// passage is the way of one request, which may be two commands.
type passage struct {
	client *Client
	ctx    context.Context
	gate   *gate
	begun  time.Time
}

func (c *Client) begin(ctx context.Context, g *gate) passage {
	return passage{client: c, ctx: ctx, gate: g, begun: time.Now()}
}

// do sends one command and waits.
func (p *passage) do(cmd *goredis.Cmd) (*goredis.Cmd, error) {
	c := p.client
	l, err := c.connect()
	if err != nil {
		return nil, err
	}
	w := waiters.Get().(*waiter)
	k := &call{Cmd: cmd, ticket: ticket{done: w.done}}
	if err := l.pipe.Process(p.ctx, k); err != nil { // the driver's queue did not take it
		waiters.Put(w)
		return nil, translate(err)
	}
	if err := p.wait(w, &k.ticket); err != nil {
		return nil, err
	}
	waiters.Put(w)
	if err := cmd.Err(); err != nil {
		return answer(cmd, err)
	}
	return cmd, nil
}

// wait returns nil when what the ticket is for is complete.
func (p *passage) wait(w *waiter, t *ticket) error {
	w.timer.Reset(p.client.settings.Timeout - time.Since(p.begun))
	defer w.timer.Stop()
	var reason error
	select {
	case <-w.done:
		return nil
	case <-p.gate.shut:
		reason = p.client.breaker.gate.Load().err // nil if it closed again already
	case <-w.timer.C:
		reason = errTimeout
	case <-p.ctx.Done():
		reason = p.ctx.Err()
	}
	select { // an answer that came meanwhile counts
	case <-w.done:
		return nil
	default:
	}
	certainty := ErrUncertain
	if t.state.CompareAndSwap(waiting, abandoned) {
		certainty = ErrUnavailable
	}
	if reason == nil || errors.Is(reason, ErrUnavailable) {
		return certainty
	}
	return fmt.Errorf("%w: %w", certainty, reason)
}

// errTimeout tells a timeout from a breaker that opened, for the metrics.
var errTimeout = errors.New("no answer within the timeout")

// finish counts the outcome.
func (p *passage) finish(cmd *goredis.Cmd, err error) (*goredis.Cmd, error) {
	counts := p.client.counts
	counts.wait.Observe(time.Since(p.begun).Seconds())
	switch {
	case err == nil, errors.Is(err, goredis.Nil):
		counts.ok.Inc()
	case errors.Is(err, errTimeout):
		counts.timeout.Inc()
	case errors.Is(err, ErrBusy):
		counts.busy.Inc()
	case p.ctx.Err() != nil:
		counts.canceled.Inc()
	case errors.Is(err, ErrUnavailable):
		counts.unavailable.Inc()
	default:
		counts.failed.Inc()
	}
	return cmd, err
}

// answer tells an error reply of the server from a failure of the connection.
func answer(cmd *goredis.Cmd, err error) (*goredis.Cmd, error) {
	if isReply(err) {
		return cmd, err
	}
	return nil, translate(err)
}

// isReply reports whether err is something that the server said.
func isReply(err error) bool {
	var reply goredis.Error
	return errors.As(err, &reply)
}

// translate turns the driver's failure into one of this package's.
func translate(err error) error {
	switch {
	case errors.Is(err, ErrUnavailable):
		return err
	case errors.Is(err, goredis.ErrClosed):
		return ErrClosed
	case errors.Is(err, goredis.ErrAutoPipelineQueueFull):
		return ErrBusy
	case errors.As(err, new(*dialError)):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", ErrUncertain, err)
}

// hook stands between the driver's queue and its connections.
type hook struct{ c *Client }

// DialHook changes nothing.
func (hook) DialHook(next goredis.DialHook) goredis.DialHook { return next }

// ProcessHook guards single commands: a batch of one, and those sent through Universal.
func (h hook) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		k, ours := cmd.(*call)
		if ours {
			defer k.complete()
		}
		if err := h.admit(); err != nil {
			return err
		}
		if ours && !k.depart() {
			return ErrUnavailable
		}
		err := next(ctx, cmd)
		h.note(err)
		return err
	}
}

// ProcessPipelineHook guards batches. What waited in the queue while the breaker opened is not sent, and neither is what
// nobody waits for any more: it would be carried out long after the request it was for.
func (h hook) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		defer complete(cmds)
		if err := h.admit(); err != nil {
			return err
		}
		live := depart(cmds)
		if len(live) == 0 {
			return nil
		}
		err := next(ctx, live)
		h.note(err)
		return err
	}
}

// admit returns the breaker's refusal, or notes that the client is used.
func (h hook) admit() error {
	if err := h.c.breaker.gate.Load().err; err != nil {
		return err
	}
	if l := h.c.line.Load(); l != nil { // nil while the pool dials its first idle connections
		h.c.touch(l)
	}
	return nil
}

// note learns from a batch whether Redis answers.
func (h hook) note(err error) {
	if err == nil || isReply(err) {
		h.c.answered.Store(int64(time.Since(h.c.born)))
	} else if l := h.c.line.Load(); l != nil {
		l.prober.wake()
	}
}

func complete(cmds []goredis.Cmder) {
	for _, cmd := range cmds {
		if k, ok := cmd.(*call); ok {
			k.complete()
		}
	}
}

// depart marks the calls as sent and returns the commands without those that were abandoned. The usual batch has none of
// these and is returned as it is. An abandoned command gets no error: the driver would take it for a broken connection.
func depart(cmds []goredis.Cmder) []goredis.Cmder {
	var live []goredis.Cmder
	for i, cmd := range cmds {
		k, ok := cmd.(*call)
		gone := ok && !k.depart()
		switch {
		case gone && live == nil:
			live = append(make([]goredis.Cmder, 0, len(cmds)), cmds[:i]...)
		case !gone && live != nil:
			live = append(live, cmd)
		}
	}
	if live == nil {
		return cmds
	}
	return live
}
