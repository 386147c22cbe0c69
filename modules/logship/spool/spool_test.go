// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/spool"
)

// patience bounds every wait.
const patience = 20 * time.Second

// small are options with which a few lines fill segments.
func small() spool.Options {
	return spool.Options{Segment: spool.MinSegment, MaxSize: 64 << 20, Sync: 10 * time.Millisecond}
}

// modes runs a test with segments in memory, and with segments that are written to.
func modes(t *testing.T, test func(t *testing.T, options spool.Options)) {
	for name, unmapped := range map[string]bool{"mapped": false, "written": true} {
		t.Run(name, func(t *testing.T) {
			options := small()
			options.Unmapped = unmapped
			test(t, options)
		})
	}
}

func open(t testing.TB, dir string, options spool.Options) *spool.Spool {
	t.Helper()
	s, _, err := spool.Open(dir, options, "a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func cursor(t testing.TB, s *spool.Spool) *spool.Cursor {
	t.Helper()
	c, err := s.Cursor("a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Release(); err != nil {
			t.Errorf("Release: %v", err)
		}
	})
	return c
}

// text is the line of a number.
func text(n int) string {
	return fmt.Sprintf("line %d %s", n, strings.Repeat("x", n*37%400))
}

func add(t testing.TB, s *spool.Spool, first, last int) {
	t.Helper()
	for n := first; n <= last; n++ {
		if err := s.Append([]byte(text(n))); err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
	}
}

// drain reads and commits all there is, and checks that each line is the one of its number. It returns the numbers.
func drain(t testing.TB, c *spool.Cursor) []uint64 {
	t.Helper()
	var got []uint64
	for {
		chunk, err := c.Read(100, 16<<10)
		if err != nil {
			t.Fatal(err)
		}
		if chunk == nil {
			return got
		}
		for _, line := range chunk.Lines {
			if string(line.Data) != text(int(line.Seq)) {
				t.Fatalf("line %d is %.60q", line.Seq, line.Data)
			}
			got = append(got, line.Seq)
		}
		if ok, err := c.Hold(chunk); err != nil {
			t.Fatal(err)
		} else if !ok { // was given up while it was read
			got = got[:len(got)-len(chunk.Lines)]
			continue
		}
		if err := c.Commit(chunk, uint64(len(chunk.Lines)), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// want checks that the numbers are first to last.
func want(t testing.TB, got []uint64, first, last int) {
	t.Helper()
	if len(got) != last-first+1 {
		t.Fatalf("read %d lines, want %d to %d", len(got), first, last)
	}
	for i, seq := range got {
		if seq != uint64(first+i) {
			t.Fatalf("line %d of those read has number %d, want %d", i, seq, first+i)
		}
	}
}

// sums checks that no line is unaccounted for.
func sums(t testing.TB, c *spool.Cursor) spool.Progress {
	t.Helper()
	p := c.Progress()
	if p.Accepted != p.Delivered+p.Dead+p.Dropped+p.Pending {
		t.Fatalf("the sum is wrong: %+v", p)
	}
	return p
}

// crash copies a spool as it would be found if its process had been killed now.
func crash(t testing.TB, dir string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return copied
}

func TestLinesComeOutOnceAndInOrder(t *testing.T) {
	modes(t, func(t *testing.T, options spool.Options) {
		s := open(t, t.TempDir(), options)
		c := cursor(t, s)
		add(t, s, 1, 3000) // ten segments
		want(t, drain(t, c), 1, 3000)
		add(t, s, 3001, 3005)
		want(t, drain(t, c), 3001, 3005)
		if p := sums(t, c); p.Delivered != 3005 || p.Pending != 0 || p.PendingBytes != 0 {
			t.Fatalf("progress is %+v", p)
		}
		if s.Status().Mapped == options.Unmapped {
			t.Errorf("status says mapped: %v", s.Status().Mapped)
		}
	})
}

func TestDeliveredSegmentsAreDeleted(t *testing.T) {
	s := open(t, t.TempDir(), small())
	c := cursor(t, s)
	add(t, s, 1, 5000)
	drain(t, c)
	gatehousetest.Eventually(t, "the segments are deleted", func() bool {
		return s.Status().Segments == 1 && s.Status().Size <= 3*spool.MinSegment && files(t, s.Dir()) <= 2
	})
}

func files(t testing.TB, dir string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestReopen(t *testing.T) {
	modes(t, func(t *testing.T, options spool.Options) {
		dir := t.TempDir()
		s, _, err := spool.Open(dir, options, "a")
		if err != nil {
			t.Fatal(err)
		}
		c, _ := s.Cursor("a")
		add(t, s, 1, 1000)
		chunk, err := c.Read(300, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		done := len(chunk.Lines)
		if err := c.Commit(chunk, uint64(done), 0); err != nil {
			t.Fatal(err)
		}
		first := s.Epoch()
		if err := errors.Join(c.Release(), s.Close()); err != nil {
			t.Fatal(err)
		}
		if err := s.Append([]byte("late")); !errors.Is(err, spool.ErrClosed) {
			t.Errorf("a line after Close: %v", err)
		}
		again := open(t, dir, options)
		if again.Epoch() <= first {
			t.Errorf("the epoch did not rise: %d, then %d", first, again.Epoch())
		}
		add(t, again, 1001, 1010)
		c = cursor(t, again)
		want(t, drain(t, c), done+1, 1010)
		if p := sums(t, c); p.Accepted != 1010 || p.Delivered != 1010 {
			t.Errorf("progress is %+v", p)
		}
	})
}

func TestNothingIsLostInACrash(t *testing.T) {
	modes(t, func(t *testing.T, options spool.Options) {
		dir := t.TempDir()
		s := open(t, dir, options)
		c := cursor(t, s)
		add(t, s, 1, 700)
		chunk, err := c.Read(123, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Commit(chunk, 123, 0); err != nil {
			t.Fatal(err)
		}
		held, err := c.Read(45, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := c.Hold(held); !ok || err != nil {
			t.Fatal(ok, err)
		}
		add(t, s, 701, 900)

		after := open(t, crash(t, dir), options)
		c = cursor(t, after)
		if p := sums(t, c); p.Accepted != 900 || p.Delivered != 123 || p.Pending != 777 {
			t.Fatalf("progress after the crash is %+v", p)
		}
		resent, err := c.Read(7, 10) // other limits: what was being delivered is read as it was
		if err != nil {
			t.Fatal(err)
		}
		if len(resent.Lines) != 45 || resent.Lines[0].Seq != 124 || resent.Epoch != held.Epoch {
			t.Fatalf("read %d lines from %d of epoch %d again, want 45 from 124 of %d",
				len(resent.Lines), resent.Lines[0].Seq, resent.Epoch, held.Epoch)
		}
		if err := c.Commit(resent, 45, 0); err != nil {
			t.Fatal(err)
		}
		add(t, after, 901, 950)
		want(t, drain(t, c), 169, 950)
	})
}

func TestSeveralCursors(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, small())
	a := cursor(t, s)
	add(t, s, 1, 1000)
	b, err := s.Cursor("b")
	if err != nil {
		t.Fatal(err)
	}
	want(t, drain(t, a), 1, 1000)
	want(t, drain(t, b), 1, 1000)
	add(t, s, 1001, 2000)
	want(t, drain(t, a), 1001, 2000)
	if n := s.Status().Segments; n < 3 {
		t.Fatalf("segments were deleted that a cursor has not read: %d are left", n)
	}
	if err := b.Release(); err != nil {
		t.Fatal(err)
	}
	gatehousetest.Eventually(t, "the older segments are gone", func() bool { return s.Status().Segments == 1 })
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, small())
	if _, _, err := spool.Open(dir, small()); !errors.Is(err, spool.ErrLocked) {
		t.Fatalf("a second process would get %v", err)
	}
}

func TestFilesAreForTheOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, small())
	add(t, s, 1, 500)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", entry.Name(), info.Mode().Perm())
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info, err)
	}
}

func TestConcurrentAppends(t *testing.T) {
	modes(t, func(t *testing.T, options spool.Options) {
		s := open(t, t.TempDir(), options)
		c := cursor(t, s)
		const writers, each = 8, 2000
		var writing sync.WaitGroup
		for w := range writers {
			writing.Go(func() {
				for i := range each {
					if err := s.Append([]byte(fmt.Sprintf("%d %d", w, i))); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { writing.Wait(); close(done) }()
		seen, next := 0, [writers]int{}
		for ended := false; seen < writers*each; {
			chunk, err := c.Read(500, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if chunk == nil {
				if ended {
					t.Fatalf("%d lines came out", seen)
				}
				select {
				case <-done:
					ended = true
				default:
				}
				continue
			}
			for _, line := range chunk.Lines {
				var w, i int
				if _, err := fmt.Sscanf(string(line.Data), "%d %d", &w, &i); err != nil || i != next[w] {
					t.Fatalf("line %q came where %d was due (%v)", line.Data, next[w], err)
				}
				next[w]++
				seen++
			}
			if err := c.Commit(chunk, uint64(len(chunk.Lines)), 0); err != nil {
				t.Fatal(err)
			}
		}
		sums(t, c)
	})
}

func TestAppendAllocatesNothing(t *testing.T) {
	options := small()
	options.Segment = 16 << 20
	s := open(t, t.TempDir(), options)
	line := bytes.Repeat([]byte("x"), 450)
	if allocs := testing.AllocsPerRun(1000, func() { _ = s.Append(line) }); allocs > 0 {
		t.Errorf("a line allocates %.1f times", allocs)
	}
}

func TestWait(t *testing.T) {
	s := open(t, t.TempDir(), small())
	c := cursor(t, s)
	waited := func(lines uint64, age time.Duration) chan time.Duration {
		done, begun := make(chan time.Duration, 1), time.Now()
		go func() {
			if err := c.Wait(t.Context(), lines, 1<<30, age); err != nil {
				t.Error(err)
			}
			done <- time.Since(begun)
		}()
		return done
	}
	many := waited(10, time.Hour)
	add(t, s, 1, 9)
	select {
	case <-many:
		t.Fatal("did not wait for the tenth line")
	case <-time.After(20 * time.Millisecond):
	}
	add(t, s, 10, 10)
	select {
	case <-many:
	case <-time.After(patience):
		t.Fatal("the tenth line woke nobody")
	}
	drain(t, c)
	old := waited(10, 30*time.Millisecond)
	add(t, s, 11, 11)
	select {
	case <-old:
	case <-time.After(patience):
		t.Fatal("an old line woke nobody")
	}
}

func TestTail(t *testing.T) {
	s := open(t, t.TempDir(), small())
	add(t, s, 1, 1000)
	lines, err := s.Tail(990, 100)
	if err != nil || len(lines) != 10 || lines[0].Seq != 991 || string(lines[9].Data) != text(1000) {
		t.Fatalf("the last lines are %v, %v", lines, err)
	}
}

// A line is told from others by its node, epoch and number: spools of one process that are opened together must differ.
func TestEpochsDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // at one time
		var last uint64
		for range 3 {
			s, _, err := spool.Open(t.TempDir(), small())
			if err != nil {
				t.Fatal(err)
			}
			if s.Epoch() <= last {
				t.Errorf("after the epoch %d comes %d", last, s.Epoch())
			}
			last = s.Epoch()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
