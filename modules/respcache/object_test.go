// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"hash/maphash"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"
	"weak"
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
	o := &object{gen: new(generations), vary: []varyField{{"Accept-Language", "en"}}}
	o.keep("key", []headerField{{"Etag", `"a"`}})
	o.own.begin(m)
	o.body = &o.own
	freshened := &object{gen: o.gen, body: o.body, vary: []varyField{{"Accept-Language", "en"}}}
	freshened.keep("key", []headerField{{"Etag", `"a"`}})
	if got, want := freshened.cost()-o.cost(), int64(objectOverhead+len("key")+len(o.header)+fieldOverhead+len("en")); got != want {
		t.Errorf("it costs %d bytes more, want %d", got, want)
	}
	apart := &object{gen: o.gen, body: newBody(m), key: o.key, header: o.header, vary: o.vary}
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

// A copy has nothing of its original's own memory: that would stay with it, and count for nothing.
func TestCopyLetsGoOfItsOriginal(t *testing.T) {
	m := new(memory)
	m.limit.Store(1 << 20)
	o := &object{gen: new(generations), body: newBody(m), first: 0, length: -1}
	o.refs.Store(1)
	o.keep("key", []headerField{{"Etag", `"a"`}})
	o.mark([]string{"host:a"})
	known := o.withLength(0)
	part := &object{gen: o.gen, body: newBody(m), first: 0, length: 1, total: 3}
	part.keep("key", []headerField{{"Etag", `"a"`}})
	part.mark([]string{"host:a"})
	next := &object{gen: o.gen, body: newBody(m), first: 1, length: 1, total: 3}
	next.keep("key", []headerField{{"Etag", `"a"`}})
	next.mark([]string{"host:a"})
	if !part.body.reserve(1) || !next.body.reserve(1) {
		t.Fatal("there is no room")
	}
	joined := next.join(part, m, 1<<10)
	originals := map[string]weak.Pointer[object]{"stream": weak.Make(o), "part": weak.Make(part), "next part": weak.Make(next)}
	runtime.GC() // nothing uses the three from here on
	for what, w := range originals {
		if w.Value() != nil {
			t.Errorf("the object of the %s is still in memory", what)
		}
	}
	for _, c := range []*object{known, joined} {
		if len(c.marks) != 1 || c.marks[0] != c.gen.marks["host:a"] {
			t.Errorf("the copy has the marks %v", c.marks)
		}
	}
}

// Each variant has the key in its own memory.
func TestCostOfKeys(t *testing.T) {
	key := strings.Repeat("k", 10_000)
	gen, m := new(generations), new(memory)
	made := func(accepted codings) *object {
		o := &object{gen: gen, body: newBody(m), accepted: accepted}
		o.refs.Store(1)
		o.keep(key, nil)
		return o
	}
	one := newResource(key, []*object{made(0)}).Cost()
	two := newResource(key, []*object{made(0), made(gzip)}).Cost()
	if one < int64(len(key)) || two-one < int64(len(key)) {
		t.Errorf("one costs %d bytes and two %d, with a key of %d", one, two, len(key))
	}
}

// last is a store that has the value that came last.
type last struct {
	OpenStore
	key   string
	value Value
}

func (l *last) Get(string) (Value, bool) { return l.value, true }

func (l *last) Put(key string, v Value) bool {
	l.key, l.value = key, v
	return true
}

// What is stored under a key keeps no header of an answer in memory that has been discarded.
func TestDiscardedKey(t *testing.T) {
	gen, m := new(generations), new(memory)
	made := func(accepted codings) *object {
		o := &object{gen: gen, body: newBody(m), accepted: accepted}
		o.refs.Store(1)
		o.keep("key", nil)
		return o
	}
	gone, left := made(0), made(gzip)
	s := &last{value: newResource("key", []*object{gone, left})}
	c := &cache{store: s, seed: maphash.MakeSeed()}
	c.discard(gone)
	if r := s.value.(*resource); len(r.objects) != 1 || r.objects[0] != left {
		t.Fatalf("%d objects are stored", len(r.objects))
	}
	if s.key != "key" || unsafe.StringData(s.key) != unsafe.StringData(left.key) {
		t.Errorf("the store has the key of another object: %q", s.key)
	}
}
