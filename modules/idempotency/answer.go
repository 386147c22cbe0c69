// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// answerVersion is the first byte of an encoded answer. A later format takes another number; this version then refuses to
// replay it.
const answerVersion = 1

const flagOmitted = 1

var (
	errFormat = errors.New("the answer is in a format that this version does not know")
	errBroken = errors.New("the stored answer is damaged")
)

// answer is a response as it is kept.
type answer struct {
	status int
	header http.Header
	body   []byte
	// omitted says that the body is not kept: it was too large, or a stream, or the application asked not to.
	omitted bool
}

// encode is: version, flags, status, number of fields, each field's name and value, body; numbers as varints, texts with
// their length before them.
func (a *answer) encode() []byte {
	size := 16 + len(a.body)
	for name, values := range a.header {
		for _, value := range values {
			size += len(name) + len(value) + 2*binary.MaxVarintLen32
		}
	}
	out := append(make([]byte, 0, size), answerVersion, 0)
	if a.omitted {
		out[1] = flagOmitted
	}
	out = binary.AppendUvarint(out, uint64(a.status))
	names, fields := make([]string, 0, len(a.header)), 0
	for name, values := range a.header {
		names, fields = append(names, name), fields+len(values)
	}
	slices.Sort(names)
	out = binary.AppendUvarint(out, uint64(fields))
	for _, name := range names {
		for _, value := range a.header[name] {
			out = appendText(appendText(out, name), value)
		}
	}
	return appendText(out, a.body)
}

func appendText[T string | []byte](out []byte, text T) []byte {
	return append(binary.AppendUvarint(out, uint64(len(text))), text...)
}

// decodeAnswer is strict: what it does not understand wholly is not replayed.
func decodeAnswer(in []byte) (*answer, error) {
	if len(in) < 2 {
		return nil, errBroken
	}
	if in[0] != answerVersion || in[1]&^flagOmitted != 0 {
		return nil, errFormat
	}
	a := &answer{omitted: in[1] == flagOmitted, header: http.Header{}}
	d := decoder{rest: in[2:]}
	a.status = int(min(d.number(), 1000))
	for fields := d.number(); fields > 0 && !d.broken; fields-- {
		name, value := string(d.text()), string(d.text())
		a.header[name] = append(a.header[name], value)
	}
	a.body = d.text()
	switch {
	case d.broken || len(d.rest) > 0:
		return nil, errBroken
	case a.status < 200 || a.status > 599:
		return nil, fmt.Errorf("%w: its status is %d", errBroken, a.status)
	}
	return a, nil
}

// decoder reads from the front of rest. Once broken it returns nothing more.
type decoder struct {
	rest   []byte
	broken bool
}

func (d *decoder) number() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.broken, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) text() []byte {
	n := d.number()
	if d.broken || n > uint64(len(d.rest)) {
		d.broken, d.rest = true, nil
		return nil
	}
	text := d.rest[:n:n]
	d.rest = d.rest[n:]
	return text
}
