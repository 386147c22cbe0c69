// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"sync/atomic"
	"time"
)

// object is one stored answer. It does not change once others can see it: an answer that is freshened is a new object with
// the same body.
//
// All that one answer needs lies in one piece of memory with pointers, and one without for its key and header: what the garbage
// collector has to look at for a full cache decides how long requests wait for it on a machine without a core to spare.
type object struct {
	terms
	refs atomic.Int32

	key      string
	status   int
	header   storedHeader
	vary     []varyField // what selected it, save Accept-Encoding
	accepted codings     // by the request that it answered
	varies   bool        // Vary names Accept-Encoding
	coding   codings     // of the body
	known    bool        // the coding is one that this cache tells apart

	// removed are the fields of outer handlers that the answer's own handlers took away, such as Server, separated by keySeparator.
	removed string

	body   *body
	length int64 // of the body, or -1 while it comes in and nobody has said
	// Of a part of a whole: where its body begins in that, and the length of the whole; 0 for a whole.
	first, total int64
	born         int64 // when it was made, in Unix nanoseconds, by its age
	came         int64 // when it was received, likewise
	began        uint64
	marks        []*mark
	mark1        [1]*mark // room for marks: most answers have no tag
	named        int64    // bytes of the names of marks
	gen          *generations

	own      body     // room for body: it is another one if the object was freshened, or made of others
	lone     resource // room for the first resource that has this object alone
	loneUsed bool     // guarded by the lock under which the key is published
}

// keep gives the object its key and header. Nobody else sees it yet.
func (o *object) keep(key string, fields []headerField) {
	o.key, o.header = pack(key, fields)
	o.own.beside = o.fixed()
}

// mark lets the object be purged by names. It refers to their marks until it is gone.
func (o *object) mark(names []string) {
	o.marks = o.gen.of(names, o.mark1[:0])
	for _, name := range names {
		o.named += int64(len(name))
	}
}

// acquire takes a reference, unless the object is gone already.
func (o *object) acquire() bool {
	for {
		n := o.refs.Load()
		if n <= 0 {
			return false
		}
		if o.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (o *object) release() {
	switch n := o.refs.Add(-1); {
	case n == 0:
		o.body.release()
		o.gen.forget(o.marks)
	case n < 0:
		panic("BUG: an object was released more often than acquired")
	}
}

// age is the answer's current age, RFC 9111 section 4.2.3.
func (o *object) age(now time.Time) time.Duration {
	return time.Duration(max(0, now.UnixNano()-o.born))
}

// answers reports whether the object may answer a request with these fields, RFC 9111 section 4.1. A body in a coding that the
// client does not accept never does, whatever Vary says; one that was chosen from fewer or other codings than the client
// accepts does if the upstream would have chosen it again.
func (o *object) answers(req http.Header, accepted codings) bool {
	switch {
	case !o.known:
		// The upstream is asked in words for the known codings alone, so it did not choose this one for what the client wrote:
		// it would send the same to everybody with this set of them.
		if o.varies && o.accepted != accepted {
			return false
		}
	case o.coding&^accepted != 0:
		return false
	case o.varies && o.accepted != accepted:
		// The set it was chosen from was larger, and its coding is still accepted: it would be chosen again. Identity
		// was chosen although more was offered: less would not change that.
		if accepted&^o.accepted != 0 {
			return false
		}
	}
	return matches(o.vary, req)
}

const (
	objectOverhead = 480 // of an object with its body and the room for a resource, in bytes, besides what is counted
	bodyOverhead   = 112 // of a body that has no room in the object
	fieldOverhead  = 32
	// markOverhead is for a name that no other object has; which ones have is not known, and changes.
	markOverhead     = 120
	resourceOverhead = 320 // of a resource, and of the store's own record of it
)

// cost is what the object takes, in bytes.
func (o *object) cost() int64 {
	n := o.fixed() + o.body.capacity() + 40*int64(len(o.body.more)) + markOverhead*int64(len(o.marks)) + o.named
	n += int64(len(o.removed))
	if o.body != &o.own {
		n += o.body.beside
	}
	return n
}

// fixed is what the object takes without its body and its marks.
func (o *object) fixed() int64 {
	n := objectOverhead + int64(len(o.key)+len(o.header))
	for _, f := range o.vary {
		n += fieldOverhead + int64(len(f.value))
	}
	return n
}

// resource is all that is stored under one key: an answer for each variant, the newest first. It does not change; a variant
// that is added makes a new resource.
type resource struct {
	key     string
	objects []*object
	one     [1]*object // room for objects
	cost    int64
}

// newResource takes a reference to each object, and leaves out those that are gone. The slice is the resource's from now on. The
// caller holds the lock under which the key is published.
func newResource(key string, objects []*object) *resource {
	var r *resource
	if len(objects) == 1 && !objects[0].loneUsed {
		objects[0].loneUsed = true // others may read it long after the store has let go of it: it is never used twice
		r = &objects[0].lone
		r.objects = r.one[:0]
	} else {
		r = &resource{objects: objects[:0]}
	}
	for _, o := range objects {
		if o.acquire() {
			r.objects = append(r.objects, o)
			r.cost += o.cost()
		}
	}
	clear(objects[len(r.objects):])
	if len(r.objects) > 0 {
		key = r.objects[0].key // and not that of an object that is gone, which would keep its header in memory
	}
	r.key = key
	r.cost += resourceOverhead
	return r
}

// Cost implements Value.
func (r *resource) Cost() int64 { return r.cost }

// Gone implements Value.
func (r *resource) Gone() {
	for _, o := range r.objects {
		o.release()
	}
}

// find returns the newest object that answers a request, with a reference for the caller, or nil and why there is none: RFC 9211
// section 2.2.
func (r *resource) find(q *query) (found *object, fwd string) {
	fwd = fwdURIMiss
	for _, o := range r.objects {
		switch {
		case !o.answers(q.header, q.accepted):
			if fwd == fwdURIMiss {
				fwd = fwdVaryMiss
			}
		case !o.holds(q):
			fwd = fwdPartial
		case o.acquire():
			return o, ""
		}
	}
	return nil, fwd
}

// replaces reports whether a new object takes the place of an old one: it would always be found before it. Parts of one whole
// stand side by side; those of an older one are of no use any more.
func (o *object) replaces(old *object) bool {
	return o.sameSelection(old) && (!o.sameWhole(old) || old.within(o))
}

// copy is an object with a reference of its own and the same content. The caller retains body and marks.
func (o *object) copy() *object {
	c := &object{
		terms: o.terms, key: o.key, status: o.status, header: o.header, vary: o.vary, accepted: o.accepted, varies: o.varies,
		coding: o.coding, known: o.known, removed: o.removed, body: o.body, length: o.length, first: o.first, total: o.total,
		born: o.born, came: o.came, began: o.began, named: o.named, gen: o.gen,
	}
	c.marks = append(c.mark1[:0], o.marks...) // and not those in the room of the original, which would stay in memory with it
	c.refs.Store(1)
	return c
}

// with lists the objects of a resource beside a new one, the newest first and as many as variants and bytes allow. Objects
// that are dead are left out. Parts have half of that for themselves: clients choose them, and must not drive out what is whole.
func (r *resource) with(o *object, variants int, bytes int64) []*object {
	wholes, parts := room{variants, bytes}, room{variants / 2, bytes / 2}
	fits := func(o *object) bool {
		if o.partial() {
			return parts.take(o.cost())
		}
		return wholes.take(o.cost())
	}
	objects := []*object{o}
	fits(o)
	if r == nil {
		return objects
	}
	for _, old := range r.objects {
		if o.replaces(old) {
			continue
		}
		if dead, _ := old.gen.state(old); dead || !old.acquire() { // the store may let go of the resource meanwhile
			continue
		}
		if fits(old) {
			objects = append(objects, old)
		}
		old.release()
	}
	return objects
}

// room is what is left for objects.
type room struct {
	count int
	bytes int64
}

// take reports whether there is room for one more. Once there is not, there is none for smaller ones either: they are older.
func (r *room) take(cost int64) bool {
	r.count--
	r.bytes -= cost
	return r.count >= 0 && r.bytes >= 0
}
