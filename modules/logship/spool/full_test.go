// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package spool_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/spool"
)

// tight are options of a spool that is full after some 1,000 lines.
func tight(full spool.Full) spool.Options {
	return spool.Options{Segment: spool.MinSegment, MaxSize: 4 * spool.MinSegment, Full: full, Sync: 10 * time.Millisecond}
}

// fill adds lines and returns how many were dropped. The keeper gets a moment now and then, as it would between requests.
func fill(t *testing.T, s *spool.Spool, first, last int) (dropped uint64) {
	t.Helper()
	for n := first; n <= last; n++ {
		err := s.Append([]byte(text(n)))
		if errors.Is(err, spool.ErrDropped) {
			dropped++
		} else if err != nil {
			t.Fatal(err)
		}
		if size := onDisk(t, s.Dir(), n); size > 5*spool.MinSegment {
			t.Fatalf("the spool takes %d bytes, above its bound and a segment", size)
		}
	}
	return dropped
}

// onDisk sums up the segments, every hundredth time it is asked.
func onDisk(t *testing.T, dir string, n int) int64 {
	t.Helper()
	if n%100 != 0 {
		return 0
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			size += info.Size()
		}
	}
	return size
}

func TestDropOldest(t *testing.T) {
	s := open(t, t.TempDir(), tight(spool.DropOldest))
	c := cursor(t, s)
	if dropped := fill(t, s, 1, 5000); dropped > 0 {
		t.Fatalf("%d new lines were dropped", dropped)
	}
	p := sums(t, c)
	if p.Dropped == 0 || p.Dropped != p.Drops.Evicted || p.Pending == 0 {
		t.Fatalf("progress is %+v", p)
	}
	got := drain(t, c)
	after := sums(t, c) // the keeper may have made room once more
	if uint64(len(got))+after.Dropped != 5000 || got[len(got)-1] != 5000 {
		t.Fatalf("read %d lines to %d, and %d were dropped", len(got), got[len(got)-1], after.Dropped)
	}
	if after.Dropped != after.Drops.Evicted || after.Delivered != uint64(len(got)) || after.Pending != 0 {
		t.Fatalf("progress was %+v and is %+v", p, after)
	}
}

func TestDropNewest(t *testing.T) {
	s := open(t, t.TempDir(), tight(spool.DropNewest))
	c := cursor(t, s)
	dropped := fill(t, s, 1, 5000)
	p := sums(t, c)
	if dropped == 0 || p.Dropped != dropped || p.Drops.Full != dropped || p.Accepted != 5000 {
		t.Fatalf("%d lines were dropped, progress is %+v", dropped, p)
	}
	if got := drain(t, c); uint64(len(got)) != 5000-dropped {
		t.Fatalf("read %d lines, want %d", len(got), 5000-dropped)
	}
	gatehousetest.Eventually(t, "there is room again", func() bool { return s.Append([]byte(text(int(c.Progress().Accepted)+1))) == nil })
	p = sums(t, c)
	got := drain(t, c)
	if len(got) != 1 || got[0] != p.Accepted {
		t.Fatalf("read %v after the gap, want %d", got, p.Accepted)
	}
	if after := sums(t, c); after.Dropped != after.Drops.Full || after.Pending != 0 {
		t.Fatalf("progress is %+v", after)
	}
}

func TestBlockWaitsForRoomAndNoLonger(t *testing.T) {
	options := tight(spool.Block)
	options.BlockFor = 50 * time.Millisecond
	s := open(t, t.TempDir(), options)
	c := cursor(t, s)
	n := 1
	for ; n < 5000; n++ {
		begun := time.Now()
		err := s.Append([]byte(text(n)))
		if took := time.Since(begun); err != nil {
			if !errors.Is(err, spool.ErrDropped) || took < options.BlockFor || took > options.BlockFor+patience/2 {
				t.Fatalf("line %d: %v after %s", n, err, took)
			}
			break
		}
	}
	if n == 5000 {
		t.Fatal("the spool was never full")
	}
	options.BlockFor = patience
	s.Configure(options)
	blocked := make(chan error, 1)
	go func() { blocked <- s.Append([]byte(text(n + 1))) }()
	got := drain(t, c)
	select {
	case err := <-blocked:
		if err != nil {
			t.Fatalf("there was room, and yet: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("there was room, and the line still waits")
	}
	got = append(got, drain(t, c)...)
	if got[len(got)-1] != uint64(n+1) {
		t.Fatalf("the last line read is %d, want %d", got[len(got)-1], n+1)
	}
	if p := sums(t, c); p.Dropped != 1 {
		t.Fatalf("progress is %+v", p)
	}
}

func TestAppendEndsWithTheSpool(t *testing.T) {
	options := tight(spool.Block)
	options.BlockFor = time.Hour
	s := open(t, t.TempDir(), options)
	cursor(t, s)
	ended := make(chan error, 1)
	go func() {
		for {
			if err := s.Append([]byte(strings.Repeat("x", 1000))); err != nil {
				ended <- err
				return
			}
		}
	}()
	gatehousetest.Eventually(t, "the spool fills", func() bool { return s.Status().Size > 4*spool.MinSegment })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, spool.ErrClosed) {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("the line still waits")
	}
}

func TestExpiry(t *testing.T) {
	s := open(t, t.TempDir(), small())
	c := cursor(t, s)
	old := time.Now().Add(-time.Hour)
	for n := 1; n <= 2000; n++ {
		if err := s.AppendAt([]byte(text(n)), old); err != nil {
			t.Fatal(err)
		}
	}
	options := small()
	options.MaxAge = time.Minute
	s.Configure(options)
	gatehousetest.Eventually(t, "old lines are dropped", func() bool { return c.Progress().Drops.Expired > 0 })
	p := sums(t, c)
	if p.Dropped != p.Drops.Expired {
		t.Fatalf("progress is %+v", p)
	}
	want(t, drain(t, c), int(p.Dropped)+1, 2000)
}

func TestTooLong(t *testing.T) {
	s := open(t, t.TempDir(), small())
	c := cursor(t, s)
	add(t, s, 1, 10)
	if err := s.Append(make([]byte, spool.MinSegment)); !errors.Is(err, spool.ErrDropped) {
		t.Fatalf("a line of a segment's size: %v", err)
	}
	add(t, s, 12, 20)
	if got := drain(t, c); len(got) != 19 {
		t.Fatalf("read %v", got)
	}
	if p := sums(t, c); p.Dropped != 1 || p.Drops.TooLong != 1 {
		t.Fatalf("progress is %+v", p)
	}
}

func TestHeldChunkOutlivesItsSegment(t *testing.T) {
	s := open(t, t.TempDir(), tight(spool.DropOldest))
	c := cursor(t, s)
	fill(t, s, 1, 100)
	chunk, err := c.Read(50, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := c.Hold(chunk); !ok || err != nil {
		t.Fatal(ok, err)
	}
	fill(t, s, 101, 5000) // its segment is given up meanwhile
	sums(t, c)
	if err := c.Commit(chunk, 50, 0); err != nil {
		t.Fatal(err)
	}
	if p := sums(t, c); p.Delivered != 50 || p.Dropped != p.Drops.Evicted {
		t.Fatalf("progress is %+v", p)
	}
	got := drain(t, c)
	last := sums(t, c)
	if got[len(got)-1] != 5000 || last.Delivered != uint64(50+len(got)) || last.Dropped != last.Drops.Evicted {
		t.Fatalf("read %d lines to %d, progress is %+v", len(got), got[len(got)-1], last)
	}
}

func TestReadAheadIsGivenUpWithItsSegment(t *testing.T) {
	s := open(t, t.TempDir(), tight(spool.DropOldest))
	c := cursor(t, s)
	fill(t, s, 1, 100)
	chunk, err := c.Read(50, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s, 101, 5000)
	if ok, err := c.Hold(chunk); ok || err != nil {
		t.Fatalf("lines that were counted as dropped may be delivered: %v, %v", ok, err)
	}
	got := drain(t, c)
	if p := sums(t, c); uint64(len(got)) != p.Delivered || p.Dropped != p.Drops.Evicted || got[0] <= 50 {
		t.Fatalf("read %d lines, progress is %+v", len(got), p)
	}
}

// A disk on which no file can be made: the spool's directory is taken away.
func TestNoRoomOnTheDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s, _, err := spool.Open(dir, small(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil { // at once: the spool makes files meanwhile
		t.Fatal(err)
	}
	var dropped uint64
	for n := 1; n <= 3000; n++ {
		if errors.Is(s.Append([]byte(text(n))), spool.ErrDropped) {
			dropped++
		}
	}
	if st := s.Status(); dropped == 0 || st.Broken == nil {
		t.Fatalf("%d lines were dropped, status is %+v", dropped, st)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	gatehousetest.Eventually(t, "there is room again", func() bool { return s.Append([]byte("again")) == nil })
	if st := s.Status(); st.Broken != nil {
		t.Errorf("status is %+v", st)
	}
	_ = s.Close() // half of its files are gone
}

// Files that cannot be made for another reason than a full disk are no reason to give lines up.
func TestOnlyAFullDiskCostsOldLines(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	options := small()
	options.MaxSize = 64 * spool.MinSegment
	s := open(t, dir, options)
	c := cursor(t, s)
	add(t, s, 1, 1000)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !errors.Is(s.Append([]byte(text(int(s.Status().Accepted)+1))), spool.ErrDropped); {
		if time.Now().After(deadline) {
			t.Fatal("no line was dropped")
		}
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	gatehousetest.Eventually(t, "there is room again", func() bool { return s.Append([]byte(text(int(s.Status().Accepted)+1))) == nil })
	if p := sums(t, c); p.Drops.Evicted > 0 {
		t.Errorf("progress is %+v", p)
	}
	if got := drain(t, c); got[0] != 1 {
		t.Errorf("the first line read is %d", got[0])
	}
}

// A chunk whose delivery failed on this side is read again as it was, unless its segment was given up: then it is counted.
func TestRewind(t *testing.T) {
	s := open(t, t.TempDir(), tight(spool.DropOldest))
	c := cursor(t, s)
	add(t, s, 1, 100)
	read := func(lines int) *spool.Chunk {
		t.Helper()
		chunk, err := c.Read(lines, 16<<10)
		if err != nil || chunk == nil {
			t.Fatalf("%v, %v", chunk, err)
		}
		if ok, err := c.Hold(chunk); err != nil || !ok {
			t.Fatalf("%t, %v", ok, err)
		}
		return chunk
	}
	first := read(10)
	c.Rewind()
	if again := read(50); len(again.Lines) != len(first.Lines) || again.Lines[0].Seq != first.Lines[0].Seq {
		t.Fatalf("read %d lines from %d, want %d from %d", len(again.Lines), again.Lines[0].Seq, len(first.Lines), first.Lines[0].Seq)
	}
	fill(t, s, 101, 5000)
	c.Rewind()
	if p := sums(t, c); p.Dropped == 0 || p.Dropped != p.Drops.Evicted {
		t.Fatalf("progress is %+v", p)
	}
	got := drain(t, c)
	if p := sums(t, c); uint64(len(got))+p.Dropped != 5000 || p.Dropped != p.Drops.Evicted {
		t.Fatalf("read %d lines, progress is %+v", len(got), p)
	}
}

func TestSegmentCutShortByAnotherProgram(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, small())
	c := cursor(t, s)
	add(t, s, 1, 100)
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Truncate(name, 4096); err != nil {
			t.Fatal(err)
		}
	}
	stored := 0
	for n := 101; n <= 1000; n++ { // would end the process if the fault were not caught
		if s.Append([]byte(text(n))) == nil {
			stored++
		}
	}
	if stored < 500 {
		t.Errorf("only %d lines were stored afterwards", stored)
	}
	got := drain(t, c)
	if len(got) < stored/2 || got[0] != 1 {
		t.Errorf("read %d lines from %d", len(got), got[0])
	}
	sums(t, c)
}

// A segment that the disk fails to read is given up, and the ones behind it are read.
func TestUnreadableSegment(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, small())
	c := cursor(t, s)
	add(t, s, 1, 2000)
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(names) < 4 {
		t.Fatalf("%d segments, %v", len(names), err)
	}
	if err := errors.Join(os.Rename(names[1], names[1]+".away"), os.Mkdir(names[1], 0o700)); err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for failures := 0; ; {
		chunk, err := c.Read(100, 16<<10)
		if err != nil {
			if failures++; failures > 20 {
				t.Fatalf("reading still fails: %v", err)
			}
			continue
		}
		if chunk == nil {
			break
		}
		for _, line := range chunk.Lines {
			got = append(got, line.Seq)
		}
		if err := c.Commit(chunk, uint64(len(chunk.Lines)), 0); err != nil {
			t.Fatal(err)
		}
	}
	p := sums(t, c)
	if got[0] != 1 || got[len(got)-1] != 2000 || p.Dropped == 0 || p.Dropped != p.Drops.Damaged || p.Pending != 0 {
		t.Fatalf("read %d lines from %d to %d, progress is %+v", len(got), got[0], got[len(got)-1], p)
	}
	if err := errors.Join(os.Remove(names[1]), os.Rename(names[1]+".away", names[1])); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
