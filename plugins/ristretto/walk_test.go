// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ristretto

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/respcache"
)

// numbered is a value that is told by its number.
type numbered int

func (numbered) Cost() int64 { return itemCost }
func (numbered) Gone()       {}

// What moves from the window to the main part is walked past as well: a purge that concerns it is remembered only as long as a walk
// finds it.
func TestWalkFindsWhatMoves(t *testing.T) {
	const items = 20_000
	s, err := open(items * itemCost * 2) // nothing has to go
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var put atomic.Int64
	var writer sync.WaitGroup
	defer writer.Wait()
	writer.Go(func() {
		for i := range items {
			if !s.Put(strconv.Itoa(i), numbered(i)) {
				t.Errorf("%d is not kept", i)
			}
			put.Store(int64(i + 1))
		}
	})
	for walks := 0; put.Load() < items; walks++ {
		want, found := int(put.Load()), map[int]bool{}
		s.Walk(func(v respcache.Value) bool {
			found[int(v.(numbered))] = true
			return true
		})
		for i := range want {
			if !found[i] {
				t.Fatalf("walk %d: %d of %d is not found", walks, i, want)
			}
		}
	}
}
