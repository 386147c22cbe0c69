// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package loki_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/logship"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/httppost"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/logshiptest"
	"github.com/gatehouse-proxy/gatehouse/plugins/sinks/loki"
	"github.com/gatehouse-proxy/gatehouse/plugins/sinks/sinkstest"
)

// store does what the push API is documented to: it takes the lines of a batch that are well, drops those which a stream has
// with the same time, and answers 204, or 400 if any line was bad.
type store struct {
	mu      sync.Mutex
	entries []entry
	has     map[string]bool // by labels, time and line
	last    *http.Request
}

type entry struct {
	labels   map[string]string
	time     time.Time
	line     string
	metadata map[string]string
}

func newStore() *store { return &store{has: map[string]bool{}} }

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r
	var pushed struct {
		Streams []struct {
			Stream map[string]string   `json:"stream"`
			Values [][]json.RawMessage `json:"values"`
		} `json:"streams"`
	}
	body, err := sinkstest.Text(r)
	if err == nil {
		err = json.Unmarshal(body, &pushed)
	}
	if err != nil || r.Header.Get("Content-Type") != "application/json" || r.URL.Path != "/loki/api/v1/push" {
		http.Error(w, fmt.Sprint("bad request: ", err), http.StatusBadRequest)
		return
	}
	var bad error
	for _, stream := range pushed.Streams {
		for _, value := range stream.Values {
			if err := s.take(stream.Stream, value); err != nil {
				bad = err
			}
		}
	}
	if bad != nil {
		http.Error(w, bad.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *store) take(labels map[string]string, value []json.RawMessage) error {
	e := entry{labels: labels}
	var ns string
	if len(value) < 2 || len(value) > 3 || json.Unmarshal(value[0], &ns) != nil || json.Unmarshal(value[1], &e.line) != nil {
		return fmt.Errorf("malformed entry %s", value)
	}
	if len(value) == 3 {
		if err := json.Unmarshal(value[2], &e.metadata); err != nil {
			return err
		}
	}
	n, err := strconv.ParseInt(ns, 10, 64)
	if err != nil || strings.Contains(e.line, "poison") {
		return fmt.Errorf("entry refused: %.100q, %v", e.line, err)
	}
	e.time = time.Unix(0, n).UTC()
	if key := fmt.Sprint(labels, ns, e.line); !s.has[key] {
		s.has[key] = true
		s.entries = append(s.entries, e)
	}
	return nil
}

func TestConformance(t *testing.T) {
	for name, sink := range map[string]loki.Sink{
		"gzip":  {},
		"plain": {Config: httppost.Config{Compress: httppost.None}},
		"fields": {
			LabelFields: []loki.LabelField{{Label: "logger", Field: "logger", Values: []string{"http.log.access.log0"}}},
			Metadata:    []string{"status", "request>host"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			logshiptest.Run(t, func(t *testing.T) *logshiptest.Subject { return subject(t, sink) })
		})
	}
}

func subject(t *testing.T, sink loki.Sink) *logshiptest.Subject {
	s := newStore()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	relay := logshiptest.NewRelay(t, server.Listener.Addr().String())
	sink.URL = "http://" + relay.Address
	return &logshiptest.Subject{
		Sink: gatehousetest.Provision(t, &sink), Break: relay.Break, Stall: relay.Stall, Mend: relay.Mend,
		Dedupes: true, Poison: []byte(`{"poison":1}`),
		Received: func() ([]string, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			// A query gives lines by time; those of the suite have their numbers in its order, save where it tests others.
			lines := make([]string, len(s.entries))
			for i, e := range s.entries {
				lines[i] = e.line
			}
			if len(sink.LabelFields) > 0 {
				slices.SortFunc(lines, func(a, b string) int { return seq(t, a) - seq(t, b) })
			}
			return lines, nil
		},
	}
}

// seq is the number of a line: Loki has no order over streams.
func seq(t *testing.T, line string) int {
	var stamp struct {
		Seq int `json:"ship_seq"`
	}
	if err := json.Unmarshal([]byte(line), &stamp); err != nil {
		t.Fatal(err)
	}
	return stamp.Seq
}

func TestStreams(t *testing.T) {
	s := newStore()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Setenv("LOKI_ENV", "prod\"uction")
	t.Setenv("LOKI_TENANT", "shop")
	sink := gatehousetest.Provision(t, &loki.Sink{
		Config: httppost.Config{URL: server.URL + "/loki/api/v1/push", Username: "u", Password: "p"},
		Tenant: "{env.LOKI_TENANT}", Labels: map[string]string{"env": "{env.LOKI_ENV}", "job": "edge"},
		LabelFields: []loki.LabelField{{Label: "method", Field: "request>method", Values: []string{"GET", "POST"}}},
		Metadata:    []string{"status", "request>headers>User-Agent", "user id", "absent", "nothing"},
	})
	batch := logshiptest.Batch(1,
		`{"status":200,"request":{"method":"GET","headers":{"User-Agent":["x"]}},"user id":"ä","nothing":null}`,
		`{"request":{"method":"BREW\u0000"}}`, "text", `{"request":"GET"}`)
	batch.Lines[0].Time = time.Unix(1, 2).UTC()
	if err := sink.Send(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if s.last.Header.Get("X-Scope-OrgID") != "shop" || s.last.Header.Get("Content-Encoding") != "gzip" || s.last.Header.Get("Authorization") == "" {
		t.Errorf("the request has the fields %v", s.last.Header)
	}
	first := s.entries[0]
	if !maps.Equal(first.labels, map[string]string{"env": `prod"uction`, "job": "edge", "node": "test-node.1", "method": "GET"}) {
		t.Errorf("the labels are %v", first.labels)
	}
	if !maps.Equal(first.metadata, map[string]string{"status": "200", "request_headers_User_Agent": "x", "user_id": "ä"}) {
		t.Errorf("the metadata is %v", first.metadata)
	}
	if !first.time.Equal(batch.Lines[0].Time) {
		t.Errorf("the time is %s", first.time)
	}
	for _, e := range s.entries[1:] {
		if e.labels["method"] != "other" || e.metadata != nil {
			t.Errorf("%s has the labels %v and the metadata %v", e.line, e.labels, e.metadata)
		}
	}
}

// Loki refuses a line with more than 64 KiB of structured metadata.
func TestMetadataIsBounded(t *testing.T) {
	s := newStore()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	var names, fields []string
	for i := range 32 {
		names = append(names, fmt.Sprintf("f%d", i))
		fields = append(fields, fmt.Sprintf(`"f%d":%q`, i, strings.Repeat("x", 10_000)))
	}
	sink := gatehousetest.Provision(t, &loki.Sink{Config: httppost.Config{URL: server.URL}, Metadata: names})
	if err := sink.Send(t.Context(), logshiptest.Batch(1, "{"+strings.Join(fields, ",")+"}")); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, value := range s.entries[0].metadata {
		sum += len(value)
	}
	if sum < 40<<10 || sum > 48<<10 {
		t.Errorf("%d bytes of metadata were sent", sum)
	}
}

func TestAnswers(t *testing.T) {
	sinkstest.Answers(t, map[string]sinkstest.Case{
		"taken":     {sinkstest.Answer(204, ""), sinkstest.Taken},
		"200":       {sinkstest.Answer(200, ""), sinkstest.Taken},
		"too far":   {sinkstest.Answer(400, "entry too far behind"), sinkstest.Rejected},
		"too large": {sinkstest.Answer(413, ""), sinkstest.Rejected},
		"too large inside": {
			sinkstest.Answer(500, "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5229930 vs. 4194304)\n"),
			sinkstest.Rejected,
		},
		"exhausted":   {sinkstest.Answer(500, "rpc error: code = ResourceExhausted"), sinkstest.Again},
		"rate limit":  {sinkstest.Answer(429, "Ingestion rate limit exceeded"), sinkstest.Again},
		"with delay":  {sinkstest.Answer(429, "", "Retry-After", "3"), "3s"},
		"unavailable": {sinkstest.Answer(503, "", "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"), "0s"},
	}, func(t *testing.T, url string) logship.Sink {
		return gatehousetest.Provision(t, &loki.Sink{Config: httppost.Config{URL: url}})
	})
}

func TestConfig(t *testing.T) {
	field := func(label, path string, values ...string) []loki.LabelField {
		return []loki.LabelField{{Label: label, Field: path, Values: values}}
	}
	many := map[string]string{}
	for i := range 14 {
		many[fmt.Sprintf("l%d", i)] = "x"
	}
	for name, sink := range map[string]*loki.Sink{
		"label name":       {Labels: map[string]string{"a-b": "c"}},
		"reserved":         {Labels: map[string]string{"__a": "c"}},
		"too many":         {Labels: many},
		"twice":            {Labels: map[string]string{"a": "c"}, LabelFields: field("a", "b", "c")},
		"node twice":       {LabelFields: field("node", "b", "c")},
		"no values":        {LabelFields: field("a", "b")},
		"no field":         {LabelFields: field("a", "", "c")},
		"empty step":       {LabelFields: field("a", "b>>c", "c")},
		"too many streams": {LabelFields: field("a", "b", strings.Split(strings.Repeat("x,", 1000)+"x", ",")...)},
		"metadata":         {Metadata: []string{"a", ""}},
		"metadata twice":   {Metadata: []string{"a b", "a>b"}},
		"much metadata":    {Metadata: strings.Split("a"+strings.Repeat(",a", 40), ",")},
		"zstd":             {Config: httppost.Config{Compress: httppost.Zstd}},
		"no such variable": {Labels: map[string]string{"a": "{env.NO_SUCH_VARIABLE}"}},
	} {
		sink.URL = "http://loki:3100"
		if err := sink.Provision(gatehousetest.Context(t)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := new(loki.Sink).Provision(gatehousetest.Context(t)); err == nil {
		t.Error("a sink without a URL was accepted")
	}
}

func TestCaddyfile(t *testing.T) {
	t.Setenv("FIXTURE_SPOOL", t.TempDir())
	t.Setenv("LOKI_PASSWORD", "s3cret")
	gatehousetest.Fixtures(t, "testdata/*.caddyfiletest")
}

func FuzzCaddyfile(f *testing.F) {
	sinkstest.Fuzz(f, func() caddyfile.Unmarshaler { return new(loki.Sink) },
		"loki http://loki:3100", "loki http://loki:3100/x {\n tenant a\n label b c\n label_field d e>f g h\n metadata i j>k\n}",
		"loki {env.LOKI} {\n compress none\n bearer x\n}", "loki", "loki x", "loki http://x {\n label a\n}", "loki http://x {\n metadata a>\n}")
}

// A JSON string of any bytes reads back as what it was, with what is no UTF-8 replaced.
func FuzzLine(f *testing.F) {
	for _, seed := range []string{"", `"\`, "\x00\x1f\x7f", "\xff", "ä\u2028日"} {
		f.Add(seed)
	}
	s := newStore()
	server := httptest.NewServer(s)
	f.Cleanup(server.Close)
	sink := gatehousetest.Provision(f, &loki.Sink{Config: httppost.Config{URL: server.URL, Compress: httppost.None}})
	f.Fuzz(func(t *testing.T, text string) {
		batch := logshiptest.Batch(1, text)
		if strings.Contains(text, "poison") {
			return
		}
		if err := sink.Send(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		want := strings.ToValidUTF8(string(batch.AppendJSON(nil, 0)), "\uFFFD")
		if got := s.entries[len(s.entries)-1].line; got != want {
			t.Fatalf("%q arrived as %q", want, got)
		}
	})
}

func BenchmarkSend(b *testing.B) {
	url := sinkstest.Serve(b, sinkstest.Answer(204, ""))
	batch := logshiptest.Batch(1, logshiptest.Access(5000)...)
	for name, sink := range map[string]*loki.Sink{"lines": {}, "metadata": {Metadata: []string{"status", "request>host"}}} {
		b.Run(name, func(b *testing.B) {
			sink.URL = url
			s := gatehousetest.Provision(b, sink)
			for b.Loop() {
				if err := s.Send(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*5000/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
