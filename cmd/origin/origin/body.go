// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Bounds of GET /bytes.
const (
	maxBody      = 4 << 30
	maxPiece     = 1 << 20
	defaultPiece = 32 << 10
)

// noise is a readable, seekable body of pseudo-random bytes that nobody has to store: each byte follows from its
// position and the seed alone, so a part of it can be checked without the rest.
type noise struct {
	size, offset int64
	seed         uint64
}

// NewBody returns the body that GET /bytes/{size} sends, to compare a response with. Bodies of different sizes begin
// alike.
func NewBody(size int64) io.ReadSeeker { return &noise{size: size} }

// Read implements io.Reader.
func (n *noise) Read(p []byte) (int, error) {
	if n.offset >= n.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), n.size-n.offset)]
	for filled := 0; filled < len(p); {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], mix(uint64(n.offset)/8+n.seed))
		took := copy(p[filled:], word[n.offset%8:])
		filled += took
		n.offset += int64(took)
	}
	return len(p), nil
}

// Seek implements io.Seeker.
func (n *noise) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += n.offset
	case io.SeekEnd:
		offset += n.size
	}
	if offset < 0 {
		return 0, errors.New("seeking before the start of the body")
	}
	n.offset = offset
	return offset, nil
}

// mix is the SplitMix64 step (Steele, Lea, Flood 2014): neighboring inputs give unrelated words.
func mix(x uint64) uint64 {
	x = (x + 1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// serveBytes sends so many bytes: with Content-Length and ranges, or with ?chunked without either, in pieces of ?piece
// bytes with a ?pause between them.
func serveBytes(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.ParseInt(r.PathValue("size"), 10, 64)
	if err != nil || size < 0 || size > maxBody {
		http.Error(w, "the size must be a number of bytes from 0 to 4294967296", http.StatusBadRequest)
		return
	}
	q := r.URL.Query()
	w.Header().Set("Content-Type", "application/octet-stream")
	if !q.Has("chunked") {
		w.Header().Set("ETag", fmt.Sprintf(`"bytes-%d"`, size))
		http.ServeContent(w, r, "", time.Time{}, NewBody(size))
		return
	}
	pace, err := parsePace(q)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	sendPieces(w, r, NewBody(size), pace)
}

// pace is how a body without Content-Length is sent.
type pace struct {
	piece int64
	pause time.Duration
}

func parsePace(q url.Values) (pace, error) {
	p := pace{piece: defaultPiece}
	var err error
	if p.piece, err = intParam(q, "piece", defaultPiece, 1, maxPiece); err != nil {
		return p, err
	}
	if q.Has("pause") {
		if p.pause, err = parseWait(q.Get("pause")); err != nil {
			return p, fmt.Errorf("pause: %w", err)
		}
	}
	return p, nil
}

// sendPieces flushes each piece, which makes HTTP/1.1 send it as a chunk. If the client leaves, it stops.
func sendPieces(w http.ResponseWriter, r *http.Request, body io.Reader, p pace) {
	control := http.NewResponseController(w)
	if err := control.Flush(); err != nil || r.Method == http.MethodHead {
		return
	}
	for first := true; ; first = false {
		if !first && sleep(r.Context(), p.pause) != nil {
			panic(http.ErrAbortHandler) // an orderly end would pass for the whole body
		}
		n, err := io.CopyN(w, body, p.piece)
		if n > 0 && control.Flush() != nil {
			return
		}
		if err != nil {
			return
		}
	}
}

// intParam reads a number from the query.
func intParam(q url.Values, name string, fallback, low, high int64) (int64, error) {
	if !q.Has(name) {
		return fallback, nil
	}
	n, err := strconv.ParseInt(q.Get(name), 10, 64)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%s: want a number from %d to %d", name, low, high)
	}
	return n, nil
}
