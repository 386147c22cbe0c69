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

	"github.com/klauspost/compress/zstd"
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

// maxWindow bounds the memory that a sender of zstd can ask for; RFC 9659 section 3 asks senders over HTTP for no more.
const maxWindow = 8 << 20

// errCoding is returned for a content coding that is not known here.
var errCoding = errors.New("Content-Encoding must be gzip, zstd or identity")

// decoded is a request's content without its content coding.
func decoded(r *http.Request) (io.ReadCloser, error) {
	switch strings.ToLower(r.Header.Get("Content-Encoding")) {
	case "", "identity":
		return io.NopCloser(r.Body), nil
	case "gzip":
		return gzip.NewReader(r.Body)
	case "zstd":
		d, err := zstd.NewReader(r.Body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	default:
		return nil, errCoding
	}
}

// serveBatch takes one batch, plain or compressed.
func (g *ingest) serveBatch(w http.ResponseWriter, r *http.Request) {
	body, err := decoded(r)
	if err != nil {
		g.refused()
		refuseBatch(w, err)
		return
	}
	defer body.Close()
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
	switch {
	case errors.Is(err, errCoding):
		w.Header().Set("Accept-Encoding", "gzip, zstd, identity") // RFC 9110 section 12.5.3
		http.Error(w, err.Error(), http.StatusUnsupportedMediaType)
	case errors.Is(err, errTooManyLines):
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
	default:
		badBody(w, err)
	}
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
