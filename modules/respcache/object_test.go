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

// An object with the body of another one keeps that in memory, with its header: it counts for the budget.
func TestCostOfAnothersBody(t *testing.T) {
	m := new(memory)
	m.limit.Store(1 << 20)
	o := &object{gen: new(generations)}
	o.keep("key", []headerField{{"Etag", `"a"`}})
	o.own.begin(m)
	o.body = &o.own
	freshened := &object{gen: o.gen, body: o.body}
	freshened.keep("key", []headerField{{"Etag", `"a"`}})
	if got, want := freshened.cost()-o.cost(), int64(objectOverhead+len("key")+len(o.header)); got != want {
		t.Errorf("it costs %d bytes more, want %d", got, want)
	}
	apart := &object{gen: o.gen, body: newBody(m), key: o.key, header: o.header}
	if got := apart.cost() - o.cost(); got != bodyOverhead {
		t.Errorf("a body of its own memory costs %d bytes more, want %d", got, bodyOverhead)
	}
}

// Two resources that have one object alone, one after the other, are two: the first may still be read.
func TestResourcesOfOneObject(t *testing.T) {
	m := new(memory)
	o := &object{gen: new(generations), body: newBody(m)}
	o.refs.Store(1)
	first := newResource("k", []*object{o})
	second := newResource("k", []*object{o})
	if first == second {
		t.Fatal("they are one")
	}
	for _, r := range []*resource{first, second} {
		if len(r.objects) != 1 || r.objects[0] != o {
			t.Errorf("it has %v", r.objects)
		}
		r.Gone()
	}
	if n := o.refs.Load(); n != 1 {
		t.Errorf("%d references are left, want 1", n)
	}
}
