// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"io"
)

// window is how much of a segment a walker reads at once, unless a record is longer.
const window = 256 << 10

// errUnreadable says that the disk fails.
var errUnreadable = errors.New("reading a segment")

// walker reads the records of a segment, and skips damage. It never reads more memory than the segment has.
type walker struct {
	src   io.ReaderAt
	off   int64  // of the next record
	end   int64  // of what may be read
	last  uint64 // number of the record before
	limit uint64 // highest number there may be
	ahead int64  // how much to read at once

	buf  []byte
	base int64 // where buf lies in the segment

	damage int64 // bytes that were skipped before the record that was read last
}

// next returns the next record. Without one it reports false, and off tells how far the records went: to end, unless the
// rest is damaged or was never written. An error is one of reading.
func (w *walker) next() (record, bool, error) {
	w.damage = 0
	for w.off+recordHeader <= w.end {
		rec, ok, err := w.at(w.off)
		if err != nil {
			return record{}, false, err
		}
		if ok {
			w.off += rec.size
			w.last = rec.seq
			return rec, true, nil
		}
		found, err := w.skip()
		if err != nil || !found {
			return record{}, false, err
		}
	}
	return record{}, false, nil
}

// at decodes the record at a place.
func (w *walker) at(off int64) (record, bool, error) {
	b, err := w.view(off, recordHeader)
	if err != nil {
		return record{}, false, err
	}
	n, marked := decodeLength(b)
	if !marked || off+recordSize(n) > w.end {
		return record{}, false, nil
	}
	if b, err = w.view(off, recordSize(n)); err != nil {
		return record{}, false, err
	}
	rec, ok := decode(b, w.last, w.limit)
	return rec, ok, nil
}

// skip moves on to the next record behind damage, if there is one.
func (w *walker) skip() (bool, error) {
	rest, err := w.view(w.off, w.end-w.off)
	if err != nil {
		return false, err
	}
	at := search(rest, w.last, w.limit)
	if at < 0 {
		return false, nil
	}
	w.off += int64(at)
	w.damage += int64(at)
	return true, nil
}

// buffered reports whether the next record can be read without giving up the memory of those before it.
func (w *walker) buffered() bool {
	held := w.base + int64(len(w.buf))
	if w.off < w.base || w.off+recordHeader > held {
		return false
	}
	n, _ := decodeLength(w.buf[w.off-w.base:])
	return w.off+recordSize(n) <= held
}

// view returns at least n bytes from a place, which must lie before end.
func (w *walker) view(off, n int64) ([]byte, error) {
	if off < w.base || off+n > w.base+int64(len(w.buf)) {
		if err := w.load(off, n); err != nil {
			return nil, err
		}
	}
	return w.buf[off-w.base:], nil
}

func (w *walker) load(off, n int64) error {
	n = min(max(n, w.ahead, window), w.end-off)
	if int64(cap(w.buf)) < n {
		w.buf = make([]byte, n)
	}
	w.buf, w.base = w.buf[:n], off
	got, err := w.src.ReadAt(w.buf, off)
	if int64(got) == n {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) { // shorter than it was: what is missing reads as never written
		clear(w.buf[got:])
		return nil
	}
	w.buf = w.buf[:0]
	return fmt.Errorf("%w: %w", errUnreadable, err)
}
