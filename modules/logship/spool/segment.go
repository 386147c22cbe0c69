// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/gatehouse-proxy/gatehouse/modules/processors"
)

// A segment begins with a header, in which all is little-endian:
//
//	0   [8]byte  magic
//	8   uint64   epoch
//	16  uint64   number of the segment in its epoch
//	24  uint64   number of the first line that it may hold
//	32  uint32   CRC-32C of the above
//
// and, once nothing is added any more, with what would else have to be found out by reading it:
//
//	64  [8]byte  magic
//	72  uint64   where the records end
//	80  uint64   number of the last line, dropped ones included
//	88  uint64   how many records there are
//	96  int64    time of the first record
//	104 int64    time of the last record
//	112 uint32   CRC-32C of the above from 64
const (
	segmentHeader = 128
	sealAt        = 64
	headMagic     = "GHSPOOL\x01"
	sealMagic     = "GHSEAL\x00\x01"
	extension     = ".seg"
)

// step is how many bytes of a mapping are made present at once, a multiple of the size of pages. Between one and two times as
// many are present ahead of what is used: at 20 MB/s, the lines of a twentieth of a second or more. What was used is given back
// as often.
const step = 1 << 20

// segment is one file of records. What changes is guarded by the spool's lock until the segment is sealed.
type segment struct {
	epoch, num uint64
	path       string
	firstSeq   uint64 // of the first line that it may hold
	size       int64  // of the file
	capacity   int64  // what its records may take, with the header

	end       int64 // of the records
	lastSeq   uint64
	count     uint64 // of the records
	firstTime int64
	lastTime  int64

	// How many records, and bytes of them, the spool has had before this one since it was opened, or found then.
	lineBase, byteBase uint64

	file    *os.File // nil once sealed
	mapping []byte   // nil once sealed, or where files cannot be mapped
	synced  int64    // up to where the records are on the disk; of the syncer
	present int64    // up to where the pages of the mapping are in memory
	wake    int64    // when this much is used, the keeper has something to do
	gone    bool     // was taken out of the spool
}

// name is the segment's file name. Names sort in the order of the lines.
func segmentName(epoch, num uint64) string {
	return fmt.Sprintf("%016x-%08x%s", epoch, num, extension)
}

// parseName is the reverse of segmentName.
func parseName(name string) (epoch, num uint64, ok bool) {
	base, found := strings.CutSuffix(name, extension)
	if !found {
		return 0, 0, false
	}
	if _, err := fmt.Sscanf(base, "%016x-%08x", &epoch, &num); err != nil {
		return 0, 0, false
	}
	return epoch, num, segmentName(epoch, num) == name
}

// createSegment makes the file of a segment, with its space on the disk reserved and its first pages in memory, so that adding
// a record neither fails nor faults; the keeper sees to the others. Where files cannot be mapped, it is written to instead.
func createSegment(dir string, epoch, num uint64, capacity int64, mapped bool) (*segment, error) {
	g := &segment{
		epoch: epoch, num: num, path: filepath.Join(dir, segmentName(epoch, num)),
		capacity: capacity, size: capacity, end: segmentHeader,
	}
	file, err := os.OpenFile(g.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("creating a segment: %w", err)
	}
	memory, present, err := reserve(file, capacity, mapped)
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(g.path))
	}
	g.file, g.mapping, g.present = file, memory, present
	return g, nil
}

// begin writes the header, when the number of the first line is known.
func (g *segment) begin(firstSeq uint64) error {
	g.firstSeq, g.lastSeq = firstSeq, firstSeq-1
	if _, err := g.file.WriteAt(g.head(), 0); err != nil {
		return fmt.Errorf("writing the header of a segment: %w", err)
	}
	return nil
}

// head is the header without the seal.
func (g *segment) head() []byte {
	header := make([]byte, sealAt)
	copy(header, headMagic)
	binary.LittleEndian.PutUint64(header[8:], g.epoch)
	binary.LittleEndian.PutUint64(header[16:], g.num)
	binary.LittleEndian.PutUint64(header[24:], g.firstSeq)
	binary.LittleEndian.PutUint32(header[32:], crc32.Checksum(header[:32], castagnoli))
	return header
}

// readHeader fills in what the file's header and its seal say, and reports whether there is a seal that can be trusted.
func (g *segment) readHeader(header []byte) (headed, sealed bool) {
	if string(header[:8]) != headMagic || crc32.Checksum(header[:32], castagnoli) != binary.LittleEndian.Uint32(header[32:]) ||
		binary.LittleEndian.Uint64(header[8:]) != g.epoch || binary.LittleEndian.Uint64(header[16:]) != g.num {
		return false, false
	}
	g.firstSeq = binary.LittleEndian.Uint64(header[24:])
	seal := header[sealAt:]
	if string(seal[:8]) != sealMagic || crc32.Checksum(seal[:48], castagnoli) != binary.LittleEndian.Uint32(seal[48:]) {
		return true, false
	}
	end := int64(binary.LittleEndian.Uint64(seal[8:]))
	if end < segmentHeader || end > g.size {
		return true, false
	}
	g.end = end
	g.lastSeq = binary.LittleEndian.Uint64(seal[16:])
	g.count = binary.LittleEndian.Uint64(seal[24:])
	g.firstTime = int64(binary.LittleEndian.Uint64(seal[32:]))
	g.lastTime = int64(binary.LittleEndian.Uint64(seal[40:]))
	return true, true
}

// seal is what readHeader reads.
func (g *segment) seal() []byte {
	seal := make([]byte, segmentHeader-sealAt)
	copy(seal, sealMagic)
	binary.LittleEndian.PutUint64(seal[8:], uint64(g.end))
	binary.LittleEndian.PutUint64(seal[16:], g.lastSeq)
	binary.LittleEndian.PutUint64(seal[24:], g.count)
	binary.LittleEndian.PutUint64(seal[32:], uint64(g.firstTime))
	binary.LittleEndian.PutUint64(seal[40:], uint64(g.lastTime))
	binary.LittleEndian.PutUint32(seal[48:], crc32.Checksum(seal[:48], castagnoli))
	return seal
}

// add writes a record behind the others. The caller has seen to it that there is room, and holds the spool's lock.
func (g *segment) add(line []byte, lineSum uint32, seq uint64, unixNano int64, scratch *bytes.Buffer) error {
	var err error
	if g.mapping != nil {
		err = g.addMapped(line, lineSum, seq, unixNano)
	} else {
		err = g.addWritten(line, lineSum, seq, unixNano, scratch)
	}
	if err != nil {
		return err
	}
	if g.count == 0 {
		g.firstTime = unixNano
	}
	g.end += recordSize(len(line))
	g.lastSeq, g.lastTime = seq, unixNano
	g.count++
	return nil
}

// addMapped copies the record into memory that belongs to the kernel: it outlives the process from then on. Storing to a
// file that somebody has cut short would end the process, were it not for SetPanicOnFault.
func (g *segment) addMapped(line []byte, lineSum uint32, seq uint64, unixNano int64) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if fault := recover(); fault != nil {
			err = fmt.Errorf("storing into a segment: %v", fault)
		}
	}()
	rec := g.mapping[g.end : g.end+recordSize(len(line))]
	copy(rec[recordHeader:], line)
	encodeHeader(rec, lineSum, seq, unixNano)
	publish(rec, uint32(len(line))|recordMark)
	return nil
}

func (g *segment) addWritten(line []byte, lineSum uint32, seq uint64, unixNano int64, scratch *bytes.Buffer) error {
	scratch.Reset()
	scratch.Grow(int(recordSize(len(line))))
	rec := scratch.AvailableBuffer()[:recordSize(len(line))]
	clear(rec[recordHeader+len(line):])
	copy(rec[recordHeader:], line)
	encodeHeader(rec, lineSum, seq, unixNano)
	binary.LittleEndian.PutUint32(rec, uint32(len(line))|recordMark)
	if _, err := g.file.WriteAt(rec, g.end); err != nil {
		return fmt.Errorf("writing to a segment: %w", err)
	}
	return nil
}

// publish stores the first field of a record, in one piece and after all others.
func publish(rec []byte, word uint32) {
	var field [4]byte
	binary.LittleEndian.PutUint32(field[:], word)
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&rec[0])), binary.NativeEndian.Uint32(field[:])) // #nosec G103 -- aligned to 8
}

// timeAt returns the time of the record at a place.
func (g *segment) timeAt(off int64) int64 {
	var header [recordHeader]byte
	file := g.file
	if file == nil {
		var err error
		if file, err = os.Open(g.path); err != nil {
			return 0
		}
		defer file.Close()
	}
	if _, err := file.ReadAt(header[:], off); err != nil {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(header[16:]))
}

// openFile is what a segment that is being added to holds.
type openFile struct {
	file   *os.File
	memory []byte
}

// detach takes them out, with the spool's lock held.
func (g *segment) detach() openFile {
	f := openFile{g.file, g.mapping}
	g.file, g.mapping = nil, nil
	return f
}

// half reports whether half of the segment is used.
func (g *segment) half() bool { return g.end >= g.capacity/2 }

// nextWake is where the keeper has something to do next: there are pages to be made present, or the next segment.
func (g *segment) nextWake() int64 {
	at := int64(math.MaxInt64)
	if g.mapping != nil && g.present < g.capacity {
		at = g.present - step
	}
	if !g.half() {
		at = min(at, g.capacity/2)
	}
	return at
}

// unmap gives the memory back, first of all: what was stored there is the kernel's, which writes it to the disk.
func (f *openFile) unmap() error {
	memory := f.memory
	f.memory = nil
	return release(memory)
}

// finish seals the segment, which is no longer mapped, gives back the space that it did not use and closes it. What cannot be done is done when the
// spool is opened next.
func (g *segment) finish(f openFile) error {
	if f.file == nil {
		return nil // could not be made
	}
	errs := []error{processors.Blocking(f.file.Sync), f.file.Truncate(g.end)}
	if errs[0] == nil { // the seal vouches for records that are on the disk
		_, err := f.file.WriteAt(g.seal(), sealAt)
		errs = append(errs, err, processors.Blocking(f.file.Sync))
	}
	return errors.Join(append(errs, f.file.Close())...)
}

// discard closes the file of a segment that nobody will read.
func (f openFile) discard() error {
	if f.file == nil {
		return nil
	}
	return errors.Join(release(f.memory), f.file.Close())
}

// deleted deletes the files of segments, and returns those that it could not delete.
func deleted(segments []*segment) []*segment {
	var left []*segment
	for _, g := range segments {
		if err := os.Remove(g.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			left = append(left, g)
		}
	}
	return left
}
