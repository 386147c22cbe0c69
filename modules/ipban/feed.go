// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// batchInterval is the least time between two copies of the table: at a million prefixes a copy for one change
	// costs some 40 us and 15 KB of garbage, one for a thousand not much more than a hundred times that.
	batchInterval = 10 * time.Millisecond
	// sweepInterval is how often expired bans are counted and, if they are many, removed.
	sweepInterval = time.Minute
	// stopTimeout is how long a config that ends waits for its store to stop following; the store may have to write.
	stopTimeout = 10 * time.Second
	// A broken feed is tried again after minRetry, doubling up to maxRetry.
	minRetry = 100 * time.Millisecond
	maxRetry = 2 * time.Second
)

// errEnded stands in for the error of a store that stopped following without one.
var errEnded = errors.New("the store ended the feed without an error")

// feed is one run of following a store.
type feed struct {
	list   *list
	source *source
	cancel context.CancelFunc
	done   chan struct{} // closed when nothing of the feed runs any more

	heard   bool      // the store has delivered something in this call of Follow; of the following goroutine
	updated time.Time // when it last did; of the following goroutine
	staged  *staged   // the list that is arriving; nil if none is; guarded by list.mu
}

func startFeed(l *list, s *source) *feed {
	ctx, cancel := context.WithCancel(context.Background())
	f := &feed{list: l, source: s, cancel: cancel, done: make(chan struct{})}
	var running sync.WaitGroup
	running.Go(func() { f.follow(ctx) })
	running.Go(func() { f.sweep(ctx) })
	running.Go(func() { f.record(ctx) })
	go func() {
		running.Wait()
		close(f.done)
	}()
	return f
}

// follow keeps the feed going until ctx ends.
func (f *feed) follow(ctx context.Context) {
	for retry := minRetry; ctx.Err() == nil; retry = min(2*retry, maxRetry) {
		f.heard = false
		err := f.source.store.Follow(ctx, f.receive)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errEnded
		}
		if f.heard {
			retry = minRetry
		}
		pause := retry/2 + rand.N(retry/2) // so that proxies that lost one store do not all come back at once
		f.list.fail(f)
		f.source.logger.Warn("following the store of bans failed; the last list stays in force",
			zap.Error(err), zap.Duration("retry_in", pause))
		sleep(ctx, pause)
	}
}

// receive paces the store: changes that come while it waits arrive in one update, and are made in one copy. The parts of a
// list need no copy, and no wait.
func (f *feed) receive(u Update) {
	if !u.More {
		time.Sleep(batchInterval - time.Since(f.updated))
	}
	f.list.update(f, u)
	f.heard, f.updated = true, time.Now()
}

func (f *feed) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		f.list.table.keepTime()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f.list.sweep()
		}
	}
}

// sleep returns after d, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
