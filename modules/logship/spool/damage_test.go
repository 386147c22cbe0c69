// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// image is the bytes of a segment with records, and where each ends.
func image(seed uint64, n int) (data []byte, ends []int64) {
	random := rand.New(rand.NewPCG(seed, 1))
	g := &segment{epoch: 5, num: 1, firstSeq: 1}
	data = append(g.head(), make([]byte, segmentHeader-sealAt)...)
	for seq := uint64(1); seq <= uint64(n); seq++ {
		line := []byte(fmt.Sprintf("line %d %s", seq, strings.Repeat("y", random.IntN(300))))
		rec := make([]byte, recordSize(len(line)))
		copy(rec[recordHeader:], line)
		encodeHeader(rec, crc32.Checksum(line, castagnoli), seq, int64(seq)*1000)
		publish(rec, uint32(len(line))|recordMark)
		data = append(data, rec...)
		ends = append(ends, int64(len(data)))
	}
	return data, ends
}

// harm changes bytes as a failing disk or a crash would, and returns where the first change is.
func harm(random *rand.Rand, data []byte) ([]byte, int64) {
	at := random.IntN(len(data))
	n := min(1+random.IntN(64), len(data)-at)
	switch random.IntN(5) {
	case 0: // one bit
		data[at] ^= 1 << random.IntN(8)
	case 1: // noise
		for i := at; i < at+n; i++ {
			data[i] = byte(random.Uint32())
		}
	case 2: // never written
		clear(data[at : at+n])
	case 3: // cut short
		data = data[:at]
	case 4: // a page that belongs elsewhere
		from := random.IntN(len(data))
		copy(data[at:min(at+4096, len(data))], data[from:])
	}
	return data, int64(at)
}

// readAll reads every record of a segment's bytes.
func readAll(data []byte) []record {
	w := walker{src: bytes.NewReader(data), off: segmentHeader, end: int64(len(data)), limit: above(0, int64(len(data)))}
	var all []record
	for {
		rec, ok, err := w.next()
		if err != nil || !ok {
			return all
		}
		rec.data = bytes.Clone(rec.data)
		all = append(all, rec)
	}
}

// TestDamage: 10,000 segments with one to three faults each. Records in front of the first fault are all there, and what is
// read behind it is what was written.
func TestDamage(t *testing.T) {
	for seed := range uint64(10_000) {
		checkDamage(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func checkDamage(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 2))
	whole, ends := image(seed, 1+random.IntN(60))
	original := readAll(whole)
	if len(original) != len(ends) {
		t.Errorf("without a fault %d of %d records are read", len(original), len(ends))
		return
	}
	data, first := bytes.Clone(whole), int64(len(whole))
	for range 1 + random.IntN(3) {
		if len(data) == 0 {
			break
		}
		var at int64
		data, at = harm(random, data)
		first = min(first, at)
	}
	got := readAll(data)
	intact := 0
	for intact < len(ends) && ends[intact] <= first {
		intact++
	}
	if len(got) < intact {
		t.Errorf("%d records are in front of the fault, %d were read", intact, len(got))
	}
	last := uint64(0)
	for _, rec := range got {
		if rec.seq <= last || rec.seq > uint64(len(original)) || !bytes.Equal(rec.data, original[rec.seq-1].data) {
			t.Errorf("record %d after %d is %.40q", rec.seq, last, rec.data)
		}
		last = rec.seq
	}
}

// A fault in the middle costs the records that it touches, and no other.
func TestRecordsBehindDamageAreFound(t *testing.T) {
	data, ends := image(1, 50)
	data[ends[9]+recordHeader] ^= 1
	if got := readAll(data); len(got) != 49 || got[10].seq != 12 {
		t.Fatalf("%d records are read, the 11th is %d", len(got), got[10].seq)
	}
}

// TestOpenDamaged: whole spools with damaged files are opened, read to their end, and used on.
func TestOpenDamaged(t *testing.T) {
	template := t.TempDir()
	s, _, err := Open(template, Options{Segment: MinSegment, MaxSize: 1 << 20, Unmapped: true}, "a")
	if err != nil {
		t.Fatal(err)
	}
	for range 1500 {
		if err := s.Append(bytes.Repeat([]byte("z"), 100)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { openDamaged(t, template, seed) })
	}
}

func openDamaged(t *testing.T, template string, seed uint64) {
	dir := filepath.Join(t.TempDir(), "spool")
	if err := os.CopyFS(dir, os.DirFS(template)); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(seed, 3))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for range random.IntN(4) {
			if len(data) > 0 {
				data, _ = harm(random, data)
			}
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, _, err := Open(dir, Options{Segment: MinSegment, MaxSize: 1 << 20}, "a")
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Cursor("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Append([]byte("after")); err != nil {
		t.Fatal(err)
	}
	lines := readWhole(t, c)
	if len(lines) == 0 || string(lines[len(lines)-1]) != "after" {
		t.Errorf("of %d lines the last is not the one added afterwards", len(lines))
	}
	p := c.Progress()
	if p.Pending != 0 || p.Accepted != p.Delivered+p.Dead+p.Dropped {
		t.Errorf("progress is %+v", p)
	}
	if err := c.Release(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// readWhole reads and commits to the end, which must come.
func readWhole(t *testing.T, c *Cursor) (lines [][]byte) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		chunk, err := c.Read(1000, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if chunk == nil {
			return lines
		}
		for _, line := range chunk.Lines {
			lines = append(lines, bytes.Clone(line.Data))
		}
		if err := c.Commit(chunk, uint64(len(chunk.Lines)), 0); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("reading does not come to an end")
		}
	}
}

func FuzzSegment(f *testing.F) {
	whole, _ := image(1, 5)
	f.Add(whole)
	f.Add(whole[:200])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		last := uint64(0)
		for _, rec := range readAll(data) {
			if rec.seq <= last {
				t.Fatalf("record %d after %d", rec.seq, last)
			}
			last = rec.seq
		}
		g := &segment{epoch: 5, num: 1, size: int64(len(data))}
		if len(data) >= segmentHeader {
			if _, sealed := g.readHeader(data[:segmentHeader]); sealed && (g.end < segmentHeader || g.end > g.size) {
				t.Fatalf("the seal of a file of %d bytes ends at %d", g.size, g.end)
			}
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0}, slotApart+slotSize))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a.cursor"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, _, err := openCursorFile(dir, "a")
		if file == nil {
			t.Fatalf("a damaged cursor cannot be opened: %v", err)
		}
		want := state{Acked: 7, Origin: 1, Delivered: 5, Dead: 1}
		if err := file.write(want); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		again, got, err := openCursorFile(dir, "a")
		if err != nil || got.Acked != 7 {
			t.Fatalf("%+v, %v", got, err)
		}
		_ = again.Close()
	})
}
