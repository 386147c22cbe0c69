// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// recorder takes the response of the handlers behind, and holds it back until it is whole and decided what becomes of its
// record: an answer that breaks off can still be told as what it is.
//
// A response that cannot be held, because it is too large or a stream, is passed through; its body is not kept then.
// Errors of writing to the client are swallowed: that it left is no reason to abort the work.
//
// It has no Unwrap: nothing may go around it to the connection.
type recorder struct {
	client http.ResponseWriter
	header http.Header
	limit  int64

	status    int
	written   http.Header // the header as it was when the status was written
	body      *bytes.Buffer
	streaming bool
	streamed  int64
	policy    policy // what the application said about keeping the response
}

func newRecorder(client http.ResponseWriter, limit int64) *recorder {
	return &recorder{client: client, header: client.Header().Clone(), limit: limit, body: buffers.Get().(*bytes.Buffer)}
}

// buffers holds the buffers of recorders. Large ones are left to the collector.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const maxPooledBuffer = 64 << 10

// free gives the buffer back; the answer's body is not used any more.
func (rec *recorder) free() {
	if rec.body != nil && rec.body.Cap() <= maxPooledBuffer {
		rec.body.Reset()
		buffers.Put(rec.body)
	}
	rec.body = nil
}

// Header implements http.ResponseWriter.
func (rec *recorder) Header() http.Header { return rec.header }

// WriteHeader implements http.ResponseWriter.
func (rec *recorder) WriteHeader(status int) {
	switch {
	case rec.status != 0:
		return
	case status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		rec.inform(status)
		return
	}
	rec.status = status
	rec.policy = takePolicy(rec.header)
	rec.written = rec.header.Clone()
	if isStream(rec.header) || declaredLength(rec.header) > rec.limit {
		rec.stream()
	}
}

// inform passes an interim response on; the header is the final response's again afterwards.
func (rec *recorder) inform(status int) {
	header := rec.client.Header()
	own := maps.Clone(header)
	maps.Copy(header, rec.header)
	rec.client.WriteHeader(status)
	clear(header)
	maps.Copy(header, own)
}

// Write implements http.ResponseWriter.
func (rec *recorder) Write(p []byte) (int, error) {
	if rec.status == 0 {
		rec.WriteHeader(http.StatusOK)
	}
	if !rec.streaming && int64(rec.body.Len()+len(p)) > rec.limit {
		rec.stream()
	}
	if !rec.streaming {
		return rec.body.Write(p)
	}
	rec.streamed += int64(len(p))
	_, _ = rec.client.Write(p) // see the type
	return len(p), nil
}

// ReadFrom implements io.ReaderFrom through Write.
func (rec *recorder) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{rec}, r)
}

// FlushError implements what http.ResponseController looks for. What is held back is not flushed.
func (rec *recorder) FlushError() error {
	if rec.streaming {
		_ = http.NewResponseController(rec.client).Flush() // see the type
	}
	return nil
}

// stream begins to pass the response through.
func (rec *recorder) stream() {
	rec.streaming = true
	replaceHeader(rec.client.Header(), rec.written)
	rec.client.WriteHeader(rec.status)
	rec.streamed = int64(rec.body.Len())
	_, _ = rec.client.Write(rec.body.Bytes()) // see the type
	rec.body.Reset()
}

// finish writes what was held back to the client, trailers included.
func (rec *recorder) finish() {
	if !rec.streaming {
		replaceHeader(rec.client.Header(), rec.written)
		if rec.endsWithBody() {
			rec.client.Header().Set("Content-Length", strconv.Itoa(rec.body.Len()))
		}
		rec.client.WriteHeader(rec.status)
		_, _ = rec.client.Write(rec.body.Bytes()) // see the type
	}
	for name, values := range rec.header {
		if rec.isTrailer(name) {
			rec.client.Header()[name] = values
		}
	}
}

// endsWithBody reports whether the length of the body can be announced, by which a client knows that it has everything
// although the handler goes on.
func (rec *recorder) endsWithBody() bool {
	if rec.status == http.StatusNoContent || rec.status == http.StatusNotModified || len(rec.written["Trailer"]) > 0 {
		return false
	}
	for name := range rec.header {
		if rec.isTrailer(name) {
			return false
		}
	}
	return true
}

// isTrailer reports whether a field of the header was written after the body, or is announced to be.
func (rec *recorder) isTrailer(name string) bool {
	_, before := rec.written[name]
	return !before || announced(rec.written, name)
}

// complete reports whether the response has all of the body that it announces.
func (rec *recorder) complete() bool {
	if rec.status == 0 {
		return false
	}
	length := declaredLength(rec.written)
	if length < 0 || rec.status == http.StatusNoContent || rec.status == http.StatusNotModified {
		return true
	}
	if rec.streaming {
		return rec.streamed == length
	}
	return int64(rec.body.Len()) == length
}

func replaceHeader(dst, src http.Header) {
	clear(dst)
	maps.Copy(dst, src)
}

// announced reports whether name is a trailer, RFC 9110 section 6.6.2.
func announced(header http.Header, name string) bool {
	for _, line := range header["Trailer"] {
		for field := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(field), name) {
				return true
			}
		}
	}
	return false
}

// declaredLength is the Content-Length, -1 if there is none.
func declaredLength(header http.Header) int64 {
	length, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	if err != nil || length < 0 {
		return -1
	}
	return length
}

// isStream reports whether the client is to get the response piece by piece.
func isStream(header http.Header) bool {
	return strings.HasPrefix(header.Get("Content-Type"), "text/event-stream") || caddyhttp.IsIncremental(header)
}

var (
	_ http.ResponseWriter = (*recorder)(nil)
	_ io.ReaderFrom       = (*recorder)(nil)
)
