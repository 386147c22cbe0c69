// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"hash/maphash"
	"io"
	"net/http"
	"strings"
	"sync"
)

// maxBatchLines bounds the lines of one batch, whose hashes are kept until the batch is complete.
const maxBatchLines = 1 << 20

// errTooManyLines is returned for a batch above maxBatchLines.
var errTooManyLines = errors.New("more than 1048576 lines in one batch")

// Ingested is what the log receiver has got. A batch counts once its last byte was read and not at all otherwise.
type Ingested struct {
	// Batches that arrived whole.
	Batches int64 `json:"batches"`
	// Lines in them; a last line without a line end counts.
	Lines int64 `json:"lines"`
	// Bytes in them, decoded.
	Bytes int64 `json:"bytes"`
	// How many of the lines were different. Lines less distinct lines are what a sender sent twice.
	Distinct int `json:"distinct"`
	// Whether distinct has reached its limit, and no longer grows.
	DistinctFull bool `json:"distinct_full"`
	// Batches that were refused or broke off.
	Refused int64 `json:"refused"`
}

// ingest receives log lines over HTTP. Make it with newIngest.
type ingest struct {
	maxLines int
	maxBody  int64
	seed     maphash.Seed

	mu   sync.Mutex // guards what follows
	sum  Ingested
	seen map[uint64]struct{} // a collision in 64 bits is less likely than a fault of the memory
}

func newIngest(maxLines int, maxBody int64) *ingest {
	return &ingest{maxLines: maxLines, maxBody: maxBody, seed: maphash.MakeSeed(), seen: make(map[uint64]struct{})}
}

// batch is one request's content.
type batch struct {
	hashes []uint64 // one a line
	bytes  int64
}

// readBatch hashes line by line, whatever their length.
func (g *ingest) readBatch(body io.Reader) (batch, error) {
	var b batch
	var h maphash.Hash
	h.SetSeed(g.seed)
	open := false // a line has begun
	reader := bufio.NewReader(body)
	for {
		part, err := reader.ReadSlice('\n')
		b.bytes += int64(len(part))
		if b.bytes > g.maxBody {
			return b, &http.MaxBytesError{Limit: g.maxBody}
		}
		_, _ = h.Write(bytes.TrimSuffix(part, []byte("\n"))) // a hash never fails
		open = open || len(part) > 0
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return b, err
		}
		if open && len(b.hashes) == maxBatchLines {
			return b, errTooManyLines
		}
		if open {
			b.hashes = append(b.hashes, h.Sum64())
		}
		if err != nil {
			return b, nil
		}
		h.Reset()
		open = false
	}
}

func (g *ingest) add(b batch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sum.Batches++
	g.sum.Lines += int64(len(b.hashes))
	g.sum.Bytes += b.bytes
	for _, hash := range b.hashes {
		if _, known := g.seen[hash]; known {
			continue
		}
		if len(g.seen) >= g.maxLines {
			g.sum.DistinctFull = true
			return
		}
		g.seen[hash] = struct{}{}
	}
}

func (g *ingest) report() Ingested {
	g.mu.Lock()
	defer g.mu.Unlock()
	sum := g.sum
	sum.Distinct = len(g.seen)
	return sum
}

func (g *ingest) refused() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sum.Refused++
}

// serveBatch takes one batch, plain or gzipped.
func (g *ingest) serveBatch(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	switch strings.ToLower(r.Header.Get("Content-Encoding")) {
	case "", "identity":
	case "gzip":
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			g.refused()
			badBody(w, err)
			return
		}
		body = unzipped
	default:
		g.refused()
		w.Header().Set("Accept-Encoding", "gzip, identity") // RFC 9110 section 12.5.3
		http.Error(w, "Content-Encoding must be gzip or identity", http.StatusUnsupportedMediaType)
		return
	}
	b, err := g.readBatch(body)
	if err != nil {
		g.refused()
		refuseBatch(w, err)
		return
	}
	g.add(b)
	w.WriteHeader(http.StatusNoContent)
}

func refuseBatch(w http.ResponseWriter, err error) {
	if errors.Is(err, errTooManyLines) {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	badBody(w, err)
}

func (g *ingest) serveReport(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, g.report())
}

func (g *ingest) serveReset(w http.ResponseWriter, _ *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sum = Ingested{}
	clear(g.seen)
	w.WriteHeader(http.StatusNoContent)
}
