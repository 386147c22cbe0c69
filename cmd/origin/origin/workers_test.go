// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// join starts n requests one after another, each of which works for a second, and collects the order of their starts.
func join(t *testing.T, k *workers, n int) (order *[]int, wait func()) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	order = new([]int)
	for i := range n {
		all.Go(func() {
			if err := k.enter(t.Context()); err != nil {
				t.Errorf("request %d: %v", i, err)
				return
			}
			defer k.leave()
			mu.Lock()
			*order = append(*order, i)
			mu.Unlock()
			time.Sleep(time.Second) // in a bubble
		})
		synctest.Wait() // so that the requests stand in the queue by number
	}
	return order, all.Wait
}

func TestWorkersFirstInFirstOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newWorkers(100)
		k.resize(3)
		began := time.Now()
		order, wait := join(t, k, 12)
		if busy, _, queued := k.load(); busy != 3 || queued != 9 {
			t.Fatalf("busy %d, queued %d", busy, queued)
		}
		wait()
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("12 seconds of work took three workers %s", took)
		}
		// Workers that come free at one moment start theirs in any order, so groups of three are compared.
		for i := 0; i < len(*order); i += 3 {
			group := slices.Sorted(slices.Values((*order)[i : i+3]))
			if !slices.Equal(group, []int{i, i + 1, i + 2}) {
				t.Errorf("order %v", *order)
			}
		}
		if busy, most, queued := k.load(); busy != 0 || most != 3 || queued != 0 {
			t.Errorf("busy %d, most %d, queued %d", busy, most, queued)
		}
	})
}

func TestWorkersResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newWorkers(100)
		k.resize(1)
		_, wait := join(t, k, 10)
		for _, step := range []struct{ size, busy, queued int }{
			{4, 4, 6},  // more: the first of the queue start
			{2, 4, 6},  // fewer: who works goes on
			{0, 10, 0}, // no limit: all start
		} {
			k.resize(step.size)
			synctest.Wait()
			if busy, _, queued := k.load(); busy != step.busy || queued != step.queued {
				t.Fatalf("size %d: busy %d, queued %d", step.size, busy, queued)
			}
		}
		wait()
	})
}

func TestWorkersShrinkDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newWorkers(100)
		k.resize(4)
		_, wait := join(t, k, 6)
		k.resize(1)
		time.Sleep(1500 * time.Millisecond) // in a bubble
		if busy, _, queued := k.load(); busy != 1 || queued != 1 {
			t.Fatalf("busy %d, queued %d", busy, queued)
		}
		wait()
	})
}

func TestWorkersGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newWorkers(2)
		k.resize(1)
		if err := k.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		patient := make(chan error, 1)
		go func() { left <- k.enter(ctx) }()
		synctest.Wait()
		go func() { patient <- k.enter(t.Context()) }()
		synctest.Wait()
		if err := k.enter(t.Context()); !errors.Is(err, errQueueFull) {
			t.Errorf("third in a queue of two: %v", err)
		}
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("client that left: %v", err)
		}
		if err := <-patient; !errors.Is(err, errQueueTime) { // the bubble's clock runs on to its deadline
			t.Errorf("after ten minutes: %v", err)
		}
		k.leave()
		if busy, _, queued := k.load(); busy != 0 || queued != 0 {
			t.Errorf("busy %d, queued %d", busy, queued)
		}
	})
}

// TestWorkersGiveUpTooLate: the turn came while the client left. The worker must not be lost.
func TestWorkersGiveUpTooLate(t *testing.T) {
	k := newWorkers(10)
	k.resize(1)
	if err := k.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	turn := make(chan struct{})
	k.mu.Lock()
	place := k.waiting.PushBack(turn)
	k.mu.Unlock()
	k.leave()
	k.giveUp(place, turn)
	if busy, _, _ := k.load(); busy != 0 {
		t.Fatalf("busy %d", busy)
	}
}

// TestWorkersStorm runs many short requests, some of which leave, against the race detector.
func TestWorkersStorm(t *testing.T) {
	k := newWorkers(1000)
	k.resize(4)
	var all sync.WaitGroup
	for i := range 500 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%7)*50*time.Microsecond)
			defer cancel()
			if k.enter(ctx) == nil {
				k.leave()
			}
		})
		k.resize(1 + i%5)
	}
	all.Wait()
	if busy, most, queued := k.load(); busy != 0 || queued != 0 || most > 5 {
		t.Fatalf("busy %d, most %d, queued %d", busy, most, queued)
	}
}
