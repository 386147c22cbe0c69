// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"sync"
	"testing"
)

// The store may let go of a resource while another is made of it: bodies that are gone are not looked at.
func TestVariantsGoWhileOneIsAdded(t *testing.T) {
	m := new(memory)
	m.limit.Store(1 << 40)
	made := func(accepted codings) *object {
		o := &object{key: "k", accepted: accepted, body: newBody(m), gen: new(generations)}
		if !o.body.reserve(4 << 10) {
			t.Fatal("there is no room")
		}
		o.refs.Store(1)
		return o
	}
	for range 200 {
		o, old := made(0), made(gzip)
		r := newResource("k", []*object{old})
		old.release()
		var store sync.WaitGroup
		store.Go(r.Gone)
		for range 100 {
			newResource("k", r.with(o, 16, 1<<20)).Gone()
		}
		store.Wait()
		o.release()
	}
	if n := m.arena.inUse.Load() + m.inFlight.Load(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}
