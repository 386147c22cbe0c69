// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// A delivered line carries where it comes from in these fields of its JSON object, by which `gatehouse logs verify` finds
// gaps and duplicates. Every sink delivers lines as AppendJSON writes them.
const (
	// FieldNode is the field of Batch.Node, a string.
	FieldNode = "ship_node"
	// FieldEpoch is the field of Batch.Epoch, a number.
	FieldEpoch = "ship_epoch"
	// FieldSeq is the field of Line.Seq, a number.
	FieldSeq = "ship_seq"
	// FieldTime is the field of Line.Time, in a line that was no JSON object: RFC 3339 with nanoseconds.
	FieldTime = "ts"
	// FieldLine is the field that holds a line that was no JSON object, as a string. Bytes that are not UTF-8 are
	// replaced by U+FFFD.
	FieldLine = "line"
)

// AppendJSON appends line i as a JSON object on one line, without a line end: the object that was logged, with the fields
// of its origin before its own or, if it was no object, an object that holds it. What looks like an object is not parsed:
// Caddy's encoders write well-formed ones.
func (b *Batch) AppendJSON(dst []byte, i int) []byte {
	line := &b.Lines[i]
	dst = append(dst, `{"`+FieldNode+`":"`...)
	dst = append(dst, b.Node...)
	dst = append(dst, `","`+FieldEpoch+`":`...)
	dst = strconv.AppendUint(dst, b.Epoch, 10)
	dst = append(dst, `,"`+FieldSeq+`":`...)
	dst = strconv.AppendUint(dst, line.Seq, 10)
	fields, ok := members(line.Data)
	if !ok {
		return appendText(dst, line)
	}
	if len(fields) > 1 { // more than the closing brace
		dst = append(dst, ',')
	}
	return append(dst, fields...)
}

// members returns what follows the opening brace of a JSON object that stands on one line.
func members(data []byte) ([]byte, bool) {
	data = bytes.TrimSpace(data)
	if len(data) < 2 || data[0] != '{' || data[len(data)-1] != '}' || bytes.IndexByte(data, '\n') >= 0 {
		return nil, false
	}
	rest := bytes.TrimLeft(data[1:], " \t")
	if rest[0] != '"' && len(rest) > 1 {
		return nil, false // no JSON object begins so
	}
	return rest, true
}

func appendText(dst []byte, line *Line) []byte {
	dst = append(dst, `,"`+FieldTime+`":"`...)
	dst = line.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","`+FieldLine+`":`...)
	dst = append(dst, quote(line.Data)...)
	return append(dst, '}')
}

// quote writes text as a JSON string.
func quote(text []byte) []byte {
	quoted, err := json.Marshal(string(bytes.ToValidUTF8(text, []byte(string(utf8.RuneError)))))
	if err != nil {
		panic("BUG: a string cannot be marshaled: " + err.Error())
	}
	return quoted
}

// stampRoom is more than the fields of a line's origin take, without the node, in bytes.
const stampRoom = 80

// Room is about how much AppendJSON appends for all lines, with a byte between them.
func (b *Batch) Room() int { return b.Bytes() + len(b.Lines)*(stampRoom+len(b.Node)) }

// AppendNDJSON appends every line with a line end.
func (b *Batch) AppendNDJSON(dst []byte) []byte {
	dst = slices.Grow(dst, b.Room())
	for i := range b.Lines {
		dst = append(b.AppendJSON(dst, i), '\n')
	}
	return dst
}
