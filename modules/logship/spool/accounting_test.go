// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package spool_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/logship/spool"
)

// TestNoLineIsUnaccountedFor does what may happen to a spool in a random order, under each policy, and compares what it says
// with what was done to it.
func TestNoLineIsUnaccountedFor(t *testing.T) {
	for seed := uint64(7); seed < 13; seed++ {
		full := []spool.Full{spool.DropOldest, spool.DropNewest, spool.Block}[seed%3]
		t.Run(fmt.Sprint(seed), func(t *testing.T) { account(t, rand.New(rand.NewPCG(seed, 1)), full) })
	}
}

// ledger is what was done to a spool.
type ledger struct{ added, dropped, delivered, dead uint64 }

func account(t *testing.T, random *rand.Rand, full spool.Full) {
	dir, options := t.TempDir(), tight(full)
	options.BlockFor = time.Millisecond
	var did ledger
	s, c := reopen(t, dir, options)
	for range 150 {
		switch random.IntN(10) {
		case 0, 1, 2, 3:
			did.add(t, s, random.IntN(200))
		case 4, 5, 6:
			did.deliver(t, c, random)
		case 7:
			if chunk, err := c.Read(10, 1<<20); err != nil { // read, and never delivered
				t.Fatal(err)
			} else if chunk != nil {
				c = again(t, s, c)
			}
		case 8:
			if err := errors.Join(c.Release(), s.Close()); err != nil {
				t.Fatal(err)
			}
			s, c = reopen(t, dir, options)
		case 9:
			if err := s.Append(make([]byte, spool.MinSegment)); !errors.Is(err, spool.ErrDropped) {
				t.Fatal(err)
			}
			did.added, did.dropped = did.added+1, did.dropped+1
		}
		did.compare(t, c, full)
	}
	if err := errors.Join(c.Release(), s.Close()); err != nil {
		t.Fatal(err)
	}
}

func reopen(t *testing.T, dir string, options spool.Options) (*spool.Spool, *spool.Cursor) {
	t.Helper()
	s, _, err := spool.Open(dir, options, "a")
	if err != nil {
		t.Fatal(err)
	}
	return s, again(t, s, nil)
}

// again takes the cursor as a new shipper would.
func again(t *testing.T, s *spool.Spool, old *spool.Cursor) *spool.Cursor {
	t.Helper()
	if old != nil {
		if err := old.Release(); err != nil {
			t.Fatal(err)
		}
	}
	c, err := s.Cursor("a")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (l *ledger) add(t *testing.T, s *spool.Spool, n int) {
	t.Helper()
	for range n {
		err := s.Append([]byte(text(int(l.added))))
		if errors.Is(err, spool.ErrDropped) {
			l.dropped++
		} else if err != nil {
			t.Fatal(err)
		}
		l.added++
	}
}

func (l *ledger) deliver(t *testing.T, c *spool.Cursor, random *rand.Rand) {
	t.Helper()
	chunk, err := c.Read(1+random.IntN(100), 1<<20)
	if err != nil || chunk == nil {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if ok, err := c.Hold(chunk); err != nil {
		t.Fatal(err)
	} else if !ok {
		return
	}
	n := uint64(len(chunk.Lines))
	dead := min(n, uint64(random.IntN(3)))
	if err := c.Commit(chunk, n-dead, dead); err != nil {
		t.Fatal(err)
	}
	l.delivered, l.dead = l.delivered+n-dead, l.dead+dead
}

func (l *ledger) compare(t *testing.T, c *spool.Cursor, full spool.Full) {
	t.Helper()
	p := sums(t, c)
	if p.Accepted != l.added || p.Delivered != l.delivered || p.Dead != l.dead {
		t.Fatalf("the spool says %+v, and it was done %+v", p, *l)
	}
	if full != spool.DropOldest && p.Dropped != l.dropped || p.Dropped < l.dropped {
		t.Fatalf("the spool says that %d lines were dropped, and told so of %d: %+v", p.Dropped, l.dropped, p)
	}
}
