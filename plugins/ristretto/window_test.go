// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ristretto

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The window's links agree with a plain list, in both directions, whatever is taken out.
func TestWindowOrder(t *testing.T) {
	var w window
	var want []*item // the oldest first
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		if len(want) == 0 || random.IntN(5) < 3 && len(want) < 20 {
			it := new(item)
			w.push(it)
			want = append(want, it)
		} else {
			i := random.IntN(len(want))
			it := want[i]
			w.remove(it)
			want = slices.Delete(want, i, i+1)
			if it.newer != nil || it.older != nil {
				t.Fatal("an item that was taken out keeps others in memory")
			}
		}
		var up, down []*item
		for it := w.oldest; it != nil; it = it.newer {
			up = append(up, it)
		}
		for it := w.newest; it != nil; it = it.older {
			down = append(down, it)
		}
		slices.Reverse(down)
		if !slices.Equal(up, want) || !slices.Equal(down, want) {
			t.Fatalf("%d and %d items, want %d", len(up), len(down), len(want))
		}
	}
}
