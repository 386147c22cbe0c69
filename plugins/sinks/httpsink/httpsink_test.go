// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package httpsink_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/logship"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/httppost"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/logshiptest"
	"github.com/gatehouse-proxy/gatehouse/plugins/sinks/httpsink"
)

// ingest is a receiver of NDJSON and of arrays that refuses what is no JSON, a line longer than its limit, and batches whose
// key it has seen, as receivers do.
type ingest struct {
	mu    sync.Mutex
	lines []string
	keys  map[string]bool
	last  http.Header
}

func (g *ingest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	lines, err := decode(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = r.Header
	if key := r.Header.Get("Idempotency-Key"); !g.keys[key] {
		g.keys[key] = true
		g.lines = append(g.lines, lines...)
	}
	w.WriteHeader(http.StatusNoContent)
}

func decode(r *http.Request) ([]string, error) {
	body, err := uncompressed(r)
	if err != nil {
		return nil, err
	}
	var lines []string
	if r.Header.Get("Content-Type") == "application/json" {
		var all []json.RawMessage
		if err := json.Unmarshal(body, &all); err != nil {
			return nil, err
		}
		for _, line := range all {
			lines = append(lines, string(line))
		}
	} else {
		lines = strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) || strings.Contains(line, "poison") {
			return nil, fmt.Errorf("bad line %.100q", line)
		}
	}
	return lines, nil
}

func uncompressed(r *http.Request) ([]byte, error) {
	var body io.Reader = r.Body
	switch coding := r.Header.Get("Content-Encoding"); coding {
	case "zstd":
		z, err := zstd.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		defer z.Close()
		body = z
	case "gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		body = z
	case "":
	default:
		return nil, fmt.Errorf("unknown coding %q", coding)
	}
	return io.ReadAll(body)
}

func TestConformance(t *testing.T) {
	for _, format := range []string{httpsink.NDJSON, httpsink.JSONArray} {
		for _, coding := range []string{httppost.Zstd, httppost.Gzip, httppost.None} {
			t.Run(format+" "+coding, func(t *testing.T) {
				logshiptest.Run(t, func(t *testing.T) *logshiptest.Subject { return subject(t, format, coding) })
			})
		}
	}
}

func subject(t *testing.T, format, coding string) *logshiptest.Subject {
	g := &ingest{keys: map[string]bool{}}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	relay := logshiptest.NewRelay(t, server.Listener.Addr().String())
	s := gatehousetest.Provision(t, &httpsink.Sink{Format: format, Config: httppost.Config{URL: "http://" + relay.Address + "/ingest", Compress: coding}})
	return &logshiptest.Subject{
		Sink: s, Break: relay.Break, Stall: relay.Stall, Mend: relay.Mend, Dedupes: true, Poison: []byte(`{"poison":1}`),
		Received: func() ([]string, error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			return append([]string(nil), g.lines...), nil
		},
	}
}

// answering is a server that always answers so.
func answering(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return server.URL
}

func TestAnswers(t *testing.T) {
	tests := map[string]struct {
		answer http.HandlerFunc
		want   string // "taken", "rejected", a delay, or "again"
	}{
		"200":            {status(200, ""), "taken"},
		"202 with text":  {status(202, "<html>hello"), "taken"},
		"200 endless":    {endless(200), "taken"},
		"500 endless":    {endless(500), "again"},
		"400":            {status(400, ""), "rejected"},
		"413":            {status(413, ""), "rejected"},
		"422":            {status(422, ""), "rejected"},
		"401":            {status(401, ""), "again"},
		"403":            {status(403, ""), "again"},
		"404":            {status(404, ""), "again"},
		"301":            {status(301, "", "Location", "http://127.0.0.1:1/"), "again"},
		"500":            {status(500, strings.Repeat("x", 1<<20)), "again"},
		"429 seconds":    {status(429, "", "Retry-After", "7"), "7s"},
		"503 past date":  {status(503, "", "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"), "0s"},
		"503 nonsense":   {status(503, "", "Retry-After", "soon"), "again"},
		"503 negative":   {status(503, "", "Retry-After", "-5"), "again"},
		"503 too large":  {status(503, "", "Retry-After", "99999999999999999999"), "again"},
		"no HTTP at all": {garbage, "again"},
		"cut short":      {cut, "again"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := gatehousetest.Provision(t, &httpsink.Sink{Config: httppost.Config{URL: answering(t, test.answer)}})
			err := s.Send(t.Context(), logshiptest.Batch(1, "{}"))
			if got := kind(err); got != test.want {
				t.Errorf("the error is %v, which means %s, want %s", err, got, test.want)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func status(code int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if len(header) == 2 {
			w.Header().Set(header[0], header[1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// endless answers with a body that goes on until nobody reads it.
func endless(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(code)
		for part := make([]byte, 64<<10); r.Context().Err() == nil; {
			if _, err := w.Write(part); err != nil {
				return
			}
		}
	}
}

func garbage(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_, _ = io.WriteString(conn, "\x00\x01 nonsense\r\n\r\n")
		_ = conn.Close()
	}
}

func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	w.WriteHeader(200)
	_, _ = io.WriteString(w, "half")
	panic(http.ErrAbortHandler)
}

func kind(err error) string {
	var rejection *logship.Rejection
	var delay *logship.Delay
	switch {
	case err == nil:
		return "taken"
	case errors.As(err, &rejection):
		return "rejected"
	case errors.As(err, &delay):
		return delay.After.String()
	}
	return "again"
}

func TestRequest(t *testing.T) {
	g := &ingest{keys: map[string]bool{}}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	t.Setenv("SHIP_TOKEN", "s3cret")
	s := gatehousetest.Provision(t, &httpsink.Sink{Config: httppost.Config{
		URL: server.URL, Bearer: "{env.SHIP_TOKEN}", Headers: map[string]string{"X-Scope": "a"},
	}})
	if err := s.Send(t.Context(), logshiptest.Batch(1, "{}", "{}")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer s3cret", "X-Scope": "a", "Content-Type": "application/x-ndjson", "Content-Encoding": "zstd",
		"Idempotency-Key": `"test-node.1-1700000000000-1-2"`,
	} {
		if got := g.last.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestConfig(t *testing.T) {
	bad := map[string]httppost.Config{
		"no URL":            {},
		"another scheme":    {URL: "ftp://x/"},
		"no host":           {URL: "http:///x"},
		"password in URL":   {URL: "http://a:b@x/"},
		"two identities":    {URL: "http://x/", Bearer: "t", Username: "u"},
		"password alone":    {URL: "http://x/", Password: "p"},
		"no such variable":  {URL: "http://x/", Bearer: "{env.NO_SUCH_VARIABLE}"},
		"header injection":  {URL: "http://x/", Headers: map[string]string{"A": "b\r\nC: d"}},
		"header name":       {URL: "http://x/", Headers: map[string]string{"A b": "c"}},
		"coding":            {URL: "http://x/", Compress: "lzma"},
		"no such CA":        {URL: "https://x/", CA: "/nonexistent.pem"},
		"certificate alone": {URL: "https://x/", Cert: "x.pem"},
		"TLS without https": {URL: "http://x/", InsecureSkipVerify: true},
		"colon in username": {URL: "http://x/", Username: "a:b", Password: "p"},
		"header twice":      {URL: "http://x/", Headers: map[string]string{"X-A": "b", "x-a": "c"}},
	}
	for name, config := range bad {
		if err := (&httpsink.Sink{Config: config}).Provision(gatehousetest.Context(t)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := (&httpsink.Sink{Format: "xml", Config: httppost.Config{URL: "http://x/"}}).Provision(gatehousetest.Context(t)); err == nil {
		t.Error("an unknown format was accepted")
	}
}

func BenchmarkSend(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	b.Cleanup(server.Close)
	s := gatehousetest.Provision(b, &httpsink.Sink{Config: httppost.Config{URL: server.URL}})
	batch := logshiptest.Batch(1, logshiptest.Access(5000)...)
	for b.Loop() {
		if err := s.Send(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*5000/b.Elapsed().Seconds(), "lines/s")
}

func TestCompressedIsWhatWasSent(t *testing.T) {
	batch := logshiptest.Batch(1, logshiptest.Access(200)...)
	text := batch.AppendNDJSON(nil)
	for _, coding := range []string{httppost.Zstd, httppost.Gzip} {
		for range 3 { // it is used again
			sent := httppost.Compress(coding, nil, text)
			if len(sent) > len(text)/4 {
				t.Fatalf("%s gives %d of %d bytes", coding, len(sent), len(text))
			}
			r := httptest.NewRequest("POST", "/", bytes.NewReader(sent))
			r.Header.Set("Content-Encoding", coding)
			if got, err := uncompressed(r); err != nil || !bytes.Equal(got, text) {
				t.Fatalf("%s does not give back what was sent: %v", coding, err)
			}
		}
	}
}
