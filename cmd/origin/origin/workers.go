// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// Why a request got no worker.
var (
	errQueueFull = errors.New("the queue for a worker is full")
	errQueueTime = errors.New("no worker became free in time")
)

// workers lets a settable number of requests in at a time and the others wait in the order they came: the K servers
// and one first-in-first-out queue of queueing theory. Make it with newWorkers.
type workers struct {
	maxQueue int

	mu      sync.Mutex // guards what follows
	size    int        // 0: no limit
	busy    int
	most    int       // the most that were ever busy at once
	waiting list.List // of chan struct{}, closed when its worker is free
}

func newWorkers(maxQueue int) *workers {
	return &workers{maxQueue: maxQueue}
}

// enter takes a worker, or waits for one until ctx ends or maxWait has passed. After nil, leave must follow.
func (k *workers) enter(ctx context.Context) error {
	k.mu.Lock()
	if k.free() { // then nobody waits: admit has seen to it
		k.take()
		k.mu.Unlock()
		return nil
	}
	if k.waiting.Len() >= k.maxQueue {
		k.mu.Unlock()
		return errQueueFull
	}
	turn := make(chan struct{})
	place := k.waiting.PushBack(turn)
	k.mu.Unlock()

	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	var err error
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timer.C:
		err = errQueueTime
	}
	k.giveUp(place, turn)
	return err
}

// giveUp leaves the queue. The turn may have come in between: then the worker goes to the next one.
func (k *workers) giveUp(place *list.Element, turn chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-turn:
		k.busy--
		k.admit()
	default:
		k.waiting.Remove(place)
	}
}

// leave gives the worker back.
func (k *workers) leave() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.busy--
	k.admit()
}

// resize changes the number of workers. With fewer than are busy, the surplus ends with its requests.
func (k *workers) resize(size int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.size = size
	k.admit()
}

// load reports how many are worked on, were worked on at most, and wait.
func (k *workers) load() (busy, most, queued int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.busy, k.most, k.waiting.Len()
}

// free, take and admit are called with mu held.
func (k *workers) free() bool { return k.size == 0 || k.busy < k.size }

func (k *workers) take() {
	k.busy++
	k.most = max(k.most, k.busy)
}

func (k *workers) admit() {
	for k.free() && k.waiting.Len() > 0 {
		turn, ok := k.waiting.Remove(k.waiting.Front()).(chan struct{})
		if !ok {
			panic("BUG: the queue holds channels only")
		}
		k.take()
		close(turn)
	}
}
