// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// A record is a header and a line, padded with zeros to a multiple of eight bytes; numbers are little-endian:
//
//	0  uint32  the line's length, with the highest bit set: what was never written reads as zero
//	4  uint32  CRC-32C of the line and the next two fields
//	8  uint64  number of the line
//	16 int64   Unix time in nanoseconds
//	24         the line
//
// The first field is stored last, in one piece: a process that is killed half-way leaves no record.
const (
	recordHeader = 24
	recordMark   = 1 << 31
	alignment    = 8
)

// castagnoli is the polynomial that processors compute.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordSize is how much of a segment a line of n bytes takes.
func recordSize(n int) int64 {
	return (recordHeader + int64(n) + alignment - 1) &^ (alignment - 1)
}

// encodeHeader fills in all of a record's header but the length.
func encodeHeader(header []byte, lineSum uint32, seq uint64, unixNano int64) {
	binary.LittleEndian.PutUint64(header[8:], seq)
	binary.LittleEndian.PutUint64(header[16:], uint64(unixNano))
	binary.LittleEndian.PutUint32(header[4:], crc32.Update(lineSum, castagnoli, header[8:recordHeader]))
}

// record is a line as it is read. Its data is valid until the walker that read it moves on.
type record struct {
	seq  uint64
	time int64
	data []byte
	size int64 // with header and padding
}

// decodeLength returns the length of a line from the first field of its header.
func decodeLength(header []byte) (int, bool) {
	word := binary.LittleEndian.Uint32(header)
	return int(word &^ recordMark), word&recordMark != 0
}

// decode reads the record at the start of b. Its number must be above last and at most limit, which tells it from remains
// and keeps a search for records quick.
func decode(b []byte, last, limit uint64) (record, bool) {
	if len(b) < recordHeader {
		return record{}, false
	}
	n, marked := decodeLength(b)
	size := recordSize(n)
	if !marked || size > int64(len(b)) {
		return record{}, false
	}
	seq := binary.LittleEndian.Uint64(b[8:])
	if seq <= last || seq > limit {
		return record{}, false
	}
	line := b[recordHeader : recordHeader+n]
	sum := crc32.Update(crc32.Checksum(line, castagnoli), castagnoli, b[8:recordHeader])
	if sum != binary.LittleEndian.Uint32(b[4:]) {
		return record{}, false
	}
	return record{seq: seq, time: int64(binary.LittleEndian.Uint64(b[16:])), data: line, size: size}, true
}

// search returns the place of the first record in b, or -1.
func search(b []byte, last, limit uint64) int {
	for at := 0; at+recordHeader <= len(b); at += alignment {
		if b[at+3]&0x80 == 0 { // no mark
			continue
		}
		if _, ok := decode(b[at:], last, limit); ok {
			return at
		}
	}
	return -1
}

// above is the highest number that n bytes of records after number last can hold. Lines that were dropped have numbers too,
// so it leaves room for them.
func above(last uint64, n int64) uint64 {
	const dropped = 1 << 40
	if last > math.MaxUint64-dropped-uint64(n) {
		return math.MaxUint64
	}
	return last + dropped + uint64(n)
}
