// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// Scripts count once each, whichever way they take.
func TestRunAlone(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	s := NewScript("return redis.call('INCR', KEYS[1])")
	const clients, each = 8, 200
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for range each {
				if _, err := c.RunAlone(ctx, s, []string{"n"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got, err := c.RunAlone(ctx, s, []string{"n"}); err != nil || got.Val() != int64(clients*each+1) {
		t.Errorf("%v scripts, %v, of %d", got, err, clients*each+1)
	}
}

// A script that is sent by its caller ends with the deadline, as uncertain, and keeps no other from being answered.
func TestRunAloneEndsInTime(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	s := NewScript("return 1")
	run := func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := c.RunAlone(ctx, s, []string{"n"})
		return err
	}
	eventually(t, "the server is near", func() bool { return run(within) == nil && c.near.Load() })
	server.Pause()
	begun := time.Now()
	if err := run(300 * time.Millisecond); !errors.Is(err, ErrUncertain) || time.Since(begun) > within/2 {
		t.Errorf("after %v: %v", time.Since(begun), err)
	}
	server.Resume()
	eventually(t, "the server is near again", func() bool { return run(within) == nil && c.near.Load() })
	server.Kill()
	if err := run(within); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a server that is gone: %v", err)
	}
}
