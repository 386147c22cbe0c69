// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// nearby is how soon a script is answered by a server that is worth a way of its own. Farther away, changes of goroutine do not
// matter, and dialing might take longer than a request waits.
const nearby = 5 * time.Millisecond

// RunAlone is Run for requests that wait for one script after the other. While no other is on its way and the server is
// near, it is sent by the caller's own goroutine: a batch of one is handed through three others, and each change costs more
// than the script.
//
// One who sends himself does not see the breaker open, but waits no longer than that takes: for a probe, and its timeout.
func (c *Client) RunAlone(ctx context.Context, s *Script, keys []string, args ...any) (*goredis.Cmd, error) {
	if !c.near.Load() || !c.express.CompareAndSwap(false, true) {
		begun := time.Now()
		cmd, err := c.Run(ctx, s, keys, args...)
		c.near.Store(cmd != nil && time.Since(begun) < nearby)
		return cmd, err
	}
	defer c.express.Store(false)
	ctx, cancel := context.WithTimeout(ctx, c.settings.ProbeInterval+c.settings.ProbeTimeout)
	defer cancel()
	cmd, err := c.run(ctx, s, keys, args, (*passage).alone)
	if cmd == nil { // no answer
		c.near.Store(false)
	}
	return cmd, err
}

// alone sends one command on the caller's goroutine.
func (p *passage) alone(cmd *goredis.Cmd) (*goredis.Cmd, error) {
	l, err := p.client.connect()
	if err != nil {
		return nil, err
	}
	if err := l.universal.Process(p.ctx, &call{Cmd: cmd}); err != nil {
		return answer(cmd, err)
	}
	return cmd, nil
}
