// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"
)

// RFC 9110 section 14.4.
func TestContentRange(t *testing.T) {
	for text, want := range map[string]span{
		"bytes 0-0/1": {byteRange{0, 1}, 1}, "bytes 5-9/10": {byteRange{5, 5}, 10}, "BYTES 0-4/10": {byteRange{0, 5}, 10},
		"bytes 0-4/*": {}, "bytes */10": {}, "bytes 5-10/10": {}, "bytes 6-5/10": {}, "bytes 0-4": {}, "bytes=0-4/10": {}, "bytes -4/10": {}, "bytes 0-/10": {},
		"items 0-4/10": {}, "bytes 0-4/10/10": {}, "bytes  0-4/10": {}, "bytes 0 - 4/10": {}, "bytes +0-4/10": {}, "bytes 0-4/99999999999999999999": {}, "": {},
		"bytes 0-4/10, bytes 5-9/10": {},
	} {
		got, ok := parseContentRange([]string{text})
		if ok != (want != span{}) || ok && got != want {
			t.Errorf("%q gave %v, %v", text, got, ok)
		}
	}
	if _, ok := parseContentRange([]string{"bytes 0-4/10", "bytes 0-4/10"}); ok {
		t.Error("two lines were accepted")
	}
}

// What a Content-Range says lies within the whole.
func FuzzContentRange(f *testing.F) {
	f.Add("bytes 0-4/10")
	f.Add("bytes 9223372036854775806-9223372036854775807/9223372036854775807")
	f.Add("bytes */5")
	f.Fuzz(func(t *testing.T, text string) {
		s, ok := parseContentRange([]string{text})
		if ok && (s.start < 0 || s.length <= 0 || s.start+s.length > s.total || s.total <= 0) {
			t.Fatalf("%q gave %v", text, s)
		}
	})
}

// What a Range means before anything is stored: RFC 9110 section 14.2 lets a server choose.
func TestRangeWishes(t *testing.T) {
	for _, test := range []struct {
		lines []string
		wish  rangeWish
		part  string
	}{
		{nil, wholeWish, ""},
		{[]string{"Range: bytes=0-"}, wholeWish, ""},
		{[]string{"Range: bytes=0-9"}, partWish, "bytes=0-9"},
		{[]string{"Range: BYTES = 5-"}, partWish, "bytes=5-"},
		{[]string{"Range: bytes=-5"}, partWish, "bytes=-5"},
		{[]string{"Range: bytes=5-4"}, wholeWish, ""}, // malformed counts as none
		{[]string{"Range: bytes=0-<x>"}, wholeWish, ""},
		{[]string{"Range: bytes="}, wholeWish, ""},
		{[]string{"Range: items=0-4"}, ownWish, ""},
		{[]string{"Range: x"}, ownWish, ""},
		{[]string{"Range: bytes=1-2", "Range: bytes=3-4"}, ownWish, ""},
		{[]string{"Range: bytes=1-2,4-5"}, ownWish, ""},
		{[]string{"Range: bytes=0-2,4-5"}, wholeWish, ""},
		{[]string{"Range: bytes=1-2", `If-Range: "a"`}, ownWish, ""},
		{[]string{"Range: bytes=0-2", `If-Range: "a"`}, wholeWish, ""},
		{[]string{"Range: bytes=1-2", `If-None-Match: "a"`}, ownWish, ""},
	} {
		if wish, part := wishOf(headerOf(test.lines...)); wish != test.wish || part != test.part {
			t.Errorf("%q: %v %q, want %v %q", test.lines, wish, part, test.wish, test.part)
		}
	}
}

// No part of what a client writes in Range but digits and hyphens reaches the origin or the table of fills.
func FuzzRangeWishes(f *testing.F) {
	f.Add("bytes=0-5")
	f.Add("bytes=5-<x>")
	f.Fuzz(func(t *testing.T, text string) {
		wish, part := wishOf(http.Header{"Range": {text}})
		if (wish == partWish) != (part != "") || strings.Trim(strings.TrimPrefix(part, "bytes="), "0123456789-") != "" {
			t.Fatalf("%q gave %v %q", text, wish, part)
		}
	})
}

// part makes an object of bytes of a whole.
func part(t *testing.T, m *memory, whole string, first, end int, etag string) *object {
	t.Helper()
	b := newBody(m)
	if !b.reserve(int64(end - first)) {
		t.Fatal("no room")
	}
	copy(b.at(0, int64(end-first)), whole[first:end])
	b.size = int64(end - first)
	o := &object{status: 200, known: true, header: stored("ETag: " + etag), body: b, length: b.size, first: int64(first), total: int64(len(whole)), gen: new(generations)}
	if o.length == o.total {
		o.total = 0
	}
	o.refs.Store(1)
	return o
}

// RFC 9111 section 3.4: what is combined, and with what.
func TestCombining(t *testing.T) {
	const whole = "0123456789"
	type at struct {
		first, end int
		etag       string
	}
	for _, test := range []struct {
		name   string
		stored []at
		new    at
		want   string // that the new one has become; empty if nothing was joined
	}{
		{"nothing stored", nil, at{0, 5, `"a"`}, ""},
		{"adjacent", []at{{0, 5, `"a"`}}, at{5, 8, `"a"`}, "01234567"},
		{"adjacent, before", []at{{5, 8, `"a"`}}, at{3, 5, `"a"`}, "34567"},
		{"overlapping", []at{{0, 5, `"a"`}}, at{3, 8, `"a"`}, "01234567"},
		{"with a gap", []at{{0, 4, `"a"`}}, at{5, 8, `"a"`}, ""},
		{"within", []at{{2, 4, `"a"`}}, at{0, 8, `"a"`}, ""},
		{"between two", []at{{8, 10, `"a"`}, {0, 3, `"a"`}}, at{3, 8, `"a"`}, whole},
		{"a chain", []at{{0, 2, `"a"`}, {2, 4, `"a"`}}, at{4, 6, `"a"`}, "012345"},
		{"another validator", []at{{0, 5, `"b"`}}, at{5, 8, `"a"`}, ""},
		{"weak validators", []at{{0, 5, `W/"a"`}}, at{5, 8, `W/"a"`}, ""},
		{"larger than one may be", []at{{0, 5, `"a"`}}, at{5, 9, `"a"`}, ""},
		{"of the whole itself", []at{{0, 10, `"a"`}}, at{5, 8, `"a"`}, whole},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := new(cache)
			c.memory.limit.Store(1 << 20)
			limit := int64(len(whole))
			if strings.HasPrefix(test.name, "larger") {
				limit = 8
			}
			var old []*object
			for _, p := range test.stored {
				old = append(old, part(t, &c.memory, whole, p.first, p.end, p.etag))
			}
			o := part(t, &c.memory, whole, test.new.first, test.new.end, test.new.etag)
			joined := c.combine(o, old, limit)
			if (joined != nil) != (test.want != "") {
				t.Fatalf("joined: %v", joined != nil)
			}
			if joined != nil {
				var got bytes.Buffer
				if err := joined.body.writeTo(&got, 0, joined.length); err != nil || got.String() != test.want {
					t.Errorf("got %q, want %q", got.String(), test.want)
				}
				if joined.partial() != (test.want != whole) {
					t.Errorf("partial: %v", joined.partial())
				}
				joined.release()
			}
			o.release()
			for _, p := range old {
				p.release()
			}
			if n := c.memory.inFlight.Load(); n != 0 {
				t.Errorf("%d bytes are in flight for ever", n)
			}
		})
	}
}

// What is stored may be evicted while it is looked at: its memory is another answer's then.
func TestWhatIsGoneIsNotJoined(t *testing.T) {
	c := new(cache)
	c.memory.limit.Store(1 << 20)
	gone := part(t, &c.memory, "0123456789", 0, 5, `"a"`)
	gone.release()
	o := part(t, &c.memory, "0123456789", 5, 8, `"a"`)
	defer o.release()
	if joined := c.combine(o, []*object{gone}, 10); joined != nil {
		t.Errorf("joined: %d bytes", joined.length)
	}
}

// A part of something else is not stored beside a fresh whole; beside a stale one it is, and takes its place.
func TestPartsStandBesideWholes(t *testing.T) {
	c := new(cache)
	c.memory.limit.Store(1 << 20)
	whole := part(t, &c.memory, "0123456789", 0, 10, `"a"`)
	defer whole.release()
	for _, test := range []struct {
		etag string
		age  time.Duration
		want bool
	}{{`"a"`, 0, true}, {`"b"`, 0, false}, {`"b"`, 2 * time.Hour, true}} {
		o := part(t, &c.memory, "0123456789", 2, 4, test.etag)
		whole.lifetime, whole.came, o.came = time.Hour, noon.Add(-test.age).UnixNano(), noon.UnixNano()
		if got := c.mayStand(o, []*object{whole}); got != test.want {
			t.Errorf("%s beside one of %v: %v", test.etag, test.age, got)
		}
		if got := o.replaces(whole); got != (test.etag == `"b"`) {
			t.Errorf("%s replaces the whole: %v", test.etag, got)
		}
		o.release()
	}
}

// RFC 9111 section 3.3: an incomplete response answers nothing but ranges within it.
func TestPartsAnswer(t *testing.T) {
	var m memory
	m.limit.Store(1 << 20)
	o := part(t, &m, "0123456789", 2, 6, `"a"`)
	defer o.release()
	for _, test := range []struct {
		method string
		lines  []string
		want   bool
	}{
		{"GET", nil, false},
		{"GET", []string{"Range: bytes=2-5"}, true},
		{"GET", []string{"Range: bytes=3-4"}, true},
		{"GET", []string{"Range: bytes=2-2,4-5"}, true},
		{"GET", []string{"Range: bytes=-8"}, false},
		{"GET", []string{"Range: bytes=5-6"}, false},
		{"GET", []string{"Range: bytes=1-2"}, false},
		{"GET", []string{"Range: bytes=2-"}, false},
		{"GET", []string{"Range: bytes=10-"}, false},
		{"GET", []string{"Range: bytes=5-4"}, false},
		{"GET", []string{"Range: items=2-5"}, false},
		{"HEAD", []string{"Range: bytes=2-5"}, false},
		{"GET", []string{"Range: bytes=2-5", `If-Range: "a"`}, true},
		{"GET", []string{"Range: bytes=2-5", `If-Range: "b"`}, false},
		{"GET", []string{"Range: bytes=2-5", `If-Range: W/"a"`}, false},
	} {
		if got := o.holds(&query{method: test.method, header: headerOf(test.lines...)}); got != test.want {
			t.Errorf("%s %q: %v", test.method, test.lines, got)
		}
	}
}

// However many parts become one, it is purged by each name once.
func TestCombiningKeepsNamesOnce(t *testing.T) {
	c := new(cache)
	c.memory.limit.Store(1 << 20)
	const whole = "0123456789"
	all := part(t, &c.memory, whole, 0, 1, `"a"`)
	gen := all.gen
	all.mark([]string{"host:a", "tag:b"})
	named := all.named
	for i := 1; i < len(whole); i++ {
		o := part(t, &c.memory, whole, i, i+1, `"a"`)
		o.gen = gen
		o.mark([]string{"host:a", "tag:b"})
		joined := c.combine(o, []*object{all}, 10)
		o.release()
		all.release()
		all = joined
	}
	if len(all.marks) != 2 || all.named != named {
		t.Errorf("%d marks of %d bytes, want 2 of %d", len(all.marks), all.named, named)
	}
	all.release()
	for name, m := range gen.marks {
		if m.refs != 0 {
			t.Errorf("%s is referred to %d times by nothing", name, m.refs)
		}
	}
}
