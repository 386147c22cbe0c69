// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package elasticsearch_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/logship"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/httppost"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/logshiptest"
	"github.com/gatehouse-proxy/gatehouse/plugins/sinks/elasticsearch"
	"github.com/gatehouse-proxy/gatehouse/plugins/sinks/sinkstest"
)

// cluster does what the bulk API is documented to: actions and documents in turn, an answer for each, a conflict where the
// document is there, an error where a document cannot be mapped.
type cluster struct {
	mu   sync.Mutex
	ids  map[string]bool // <index>/<id>
	docs []string
	last *http.Request
	busy int // so many next lines are answered with 429
}

func newCluster() *cluster { return &cluster{ids: map[string]bool{}} }

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = r
	body, err := sinkstest.Text(r)
	if err != nil || !bytes.HasSuffix(body, []byte("\n")) || r.Header.Get("Content-Type") != "application/x-ndjson" {
		http.Error(w, fmt.Sprintf(`{"error":{"type":"illegal_argument_exception","reason":"bad request: %v"},"status":400}`, err), 400)
		return
	}
	rows := bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	items := []any{}
	failed := false
	for i := 0; i+1 < len(rows); i += 2 {
		var action map[string]struct {
			Index string `json:"_index"`
			ID    string `json:"_id"`
		}
		create := json.NewDecoder(bytes.NewReader(rows[i]))
		create.DisallowUnknownFields()
		if err := create.Decode(&action); err != nil || len(action) != 1 || action["create"].ID == "" {
			http.Error(w, fmt.Sprintf("malformed action %q", rows[i]), 400)
			return
		}
		item := c.create(action["create"].Index+"/"+action["create"].ID, rows[i+1])
		failed = failed || item["error"] != nil
		items = append(items, map[string]any{"create": item})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": failed, "items": items})
}

func (c *cluster) create(id string, doc []byte) map[string]any {
	fail := func(status int, kind, reason string) map[string]any {
		return map[string]any{"status": status, "error": map[string]any{"type": kind, "reason": reason}}
	}
	if c.busy > 0 {
		c.busy--
		return fail(429, "es_rejected_execution_exception", "queue is full")
	}
	var fields map[string]any
	if err := json.Unmarshal(doc, &fields); err != nil || bytes.Contains(doc, []byte("poison")) {
		return fail(400, "document_parsing_exception", fmt.Sprintf("failed to parse: %v", err))
	}
	if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(fields["@timestamp"])); err != nil {
		return fail(400, "document_parsing_exception", "data stream timestamp field [@timestamp] is missing")
	}
	if bytes.Count(doc, []byte(`"@timestamp":"`)) > 1 {
		return fail(400, "document_parsing_exception", "Duplicate field '@timestamp'")
	}
	if c.ids[id] {
		return fail(409, "version_conflict_engine_exception", "document already exists")
	}
	c.ids[id] = true
	c.docs = append(c.docs, string(doc))
	return map[string]any{"status": 201}
}

func subject(t *testing.T, coding string) (*logshiptest.Subject, *cluster) {
	c := newCluster()
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	relay := logshiptest.NewRelay(t, server.Listener.Addr().String())
	return &logshiptest.Subject{
		Sink:  gatehousetest.Provision(t, &elasticsearch.Sink{Config: httppost.Config{URL: "http://" + relay.Address, Compress: coding}}),
		Break: relay.Break, Stall: relay.Stall, Mend: relay.Mend, Dedupes: true, Poison: []byte(`{"poison":1}`),
		Received: func() ([]string, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			return slices.Clone(c.docs), nil
		},
	}, c
}

func TestConformance(t *testing.T) {
	for _, coding := range []string{httppost.Gzip, httppost.None} {
		t.Run(coding, func(t *testing.T) {
			logshiptest.Run(t, func(t *testing.T) *logshiptest.Subject {
				s, _ := subject(t, coding)
				return s
			})
		})
	}
}

// A batch of which some lines are there, some are refused and some have to wait.
func TestLinesHaveFatesOfTheirOwn(t *testing.T) {
	s, c := subject(t, "")
	lines := logshiptest.Access(6)
	lines[4] = `{"poison":1}`
	batch := logshiptest.Batch(1, lines...)
	c.busy = 2
	if err := s.Sink.Send(t.Context(), batch); sinkstest.Meaning(err) != sinkstest.Again || !strings.Contains(err.Error(), "2 of 6 lines") {
		t.Fatalf("two lines were answered with 429: %v", err)
	}
	if err := s.Sink.Send(t.Context(), batch); sinkstest.Meaning(err) != "rejected [4]" {
		t.Fatalf("the fifth line is poison: %v", err)
	}
	if len(c.docs) != 5 {
		t.Errorf("the index has %d documents, want 5", len(c.docs))
	}
}

func TestAnswers(t *testing.T) {
	item := func(status int, kind, reason string) http.HandlerFunc {
		return sinkstest.Answer(200, fmt.Sprintf(`{"errors":true,"items":[{"create":{"status":%d,"error":{"type":%q,"reason":%q}}}]}`, status, kind, reason))
	}
	sinkstest.Answers(t, map[string]sinkstest.Case{
		"created":              {sinkstest.Answer(200, `{"errors":false,"items":[{"create":{"status":201}}]}`), sinkstest.Taken},
		"conflict":             {item(409, "version_conflict_engine_exception", "document already exists"), sinkstest.Taken},
		"another conflict":     {item(409, "resource_already_exists_exception", ""), sinkstest.Again},
		"mapping":              {item(400, "mapper_parsing_exception", "failed to parse field [a]"), "rejected [0]"},
		"too many fields":      {item(400, "illegal_argument_exception", "Limit of total fields [1000] has been exceeded"), "rejected [0]"},
		"no write index":       {item(400, "illegal_argument_exception", "no write index is defined for alias [a]"), sinkstest.Again},
		"no pipeline":          {item(400, "illegal_argument_exception", "pipeline with id [p] does not exist"), sinkstest.Again},
		"no shards left":       {item(400, "validation_exception", "this action would add [2] shards"), sinkstest.Again},
		"closed":               {item(400, "index_closed_exception", "closed"), sinkstest.Again},
		"no index":             {item(404, "index_not_found_exception", "no such index"), sinkstest.Again},
		"disk full":            {item(403, "cluster_block_exception", "read-only"), sinkstest.Again},
		"queue full":           {item(429, "es_rejected_execution_exception", "full"), sinkstest.Again},
		"no shard":             {item(503, "unavailable_shards_exception", "primary"), sinkstest.Again},
		"400 without a type":   {item(400, "", ""), sinkstest.Again},
		"too few items":        {sinkstest.Answer(200, `{"errors":false,"items":[]}`), sinkstest.Again},
		"too many items":       {sinkstest.Answer(200, `{"items":[{"create":{"status":201}},{"create":{"status":201}}]}`), sinkstest.Again},
		"another action":       {sinkstest.Answer(200, `{"items":[{"delete":{"status":200}}]}`), sinkstest.Again},
		"created in error":     {item(201, "exception", "no"), sinkstest.Again},
		"null item":            {sinkstest.Answer(200, `{"items":[null]}`), sinkstest.Again},
		"no status":            {sinkstest.Answer(200, `{"items":[{"create":{}}]}`), sinkstest.Again},
		"only errors: false":   {sinkstest.Answer(200, `{"errors":false}`), sinkstest.Again},
		"items of text":        {sinkstest.Answer(200, `{"items":"all of them"}`), sinkstest.Again},
		"nothing":              {sinkstest.Answer(200, ""), sinkstest.Again},
		"endless":              {sinkstest.Answer(200, strings.Repeat(" ", 3<<20)), sinkstest.Rejected},
		"a long reason":        {item(503, "x", strings.Repeat("y", 100_000)), sinkstest.Again},
		"whole batch refused":  {sinkstest.Answer(400, "malformed"), sinkstest.Rejected},
		"whole batch too long": {sinkstest.Answer(413, ""), sinkstest.Rejected},
		"busy":                 {sinkstest.Answer(429, "", "Retry-After", "7"), "7s"},
	}, func(t *testing.T, url string) logship.Sink {
		return gatehousetest.Provision(t, &elasticsearch.Sink{Config: httppost.Config{URL: url}})
	})
}

func TestRequest(t *testing.T) {
	c := newCluster()
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	t.Setenv("ES_KEY", "c2VjcmV0")
	s := gatehousetest.Provision(t, &elasticsearch.Sink{
		Config: httppost.Config{URL: server.URL + "/prefix/"}, Index: "access-%Y.%m.%d", Pipeline: "geo ip", APIKey: "{env.ES_KEY}",
	})
	batch := logshiptest.Batch(1, `{"a":1}`, `{"@timestamp":"2020-01-02T03:04:05Z"}`, `{"nested":{"@timestamp":1}}`, "{\"b\":\"\xff\"}", "text")
	batch.Lines[0].Time = time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)
	if err := s.Send(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if got := c.last.Header.Get("Authorization"); got != "ApiKey c2VjcmV0" {
		t.Errorf("Authorization is %q", got)
	}
	if c.last.URL.Path != "/prefix/_bulk" || c.last.URL.Query().Get("pipeline") != "geo ip" || c.last.URL.Query().Get("filter_path") == "" {
		t.Errorf("the request went to %s", c.last.URL)
	}
	if !c.ids["access-2026.02.03/test-node.1-1700000000000-1"] {
		t.Errorf("the documents are %v", c.ids)
	}
	if want := `{"@timestamp":"2026-02-03T04:05:06.000000007Z","ship_node":"test-node.1","ship_epoch":1700000000000,"ship_seq":1,"a":1}`; c.docs[0] != want {
		t.Errorf("the first document is %s, want %s", c.docs[0], want)
	}
	if len(c.docs) != 5 || !strings.HasSuffix(c.docs[1], `,"@timestamp":"2020-01-02T03:04:05Z"}`) ||
		!strings.HasPrefix(c.docs[2], `{"@timestamp":"`) || !strings.HasSuffix(c.docs[2], `"nested":{"@timestamp":1}}`) {
		t.Errorf("the documents are %q", c.docs)
	}
	for _, doc := range c.docs {
		if !utf8.ValidString(doc) {
			t.Errorf("the server would refuse %q", doc)
		}
	}
}

func TestConfig(t *testing.T) {
	url := httppost.Config{URL: "http://es:9200"}
	for name, s := range map[string]*elasticsearch.Sink{
		"no URL":           {},
		"query":            {Config: httppost.Config{URL: "http://es:9200/?x=1"}},
		"scheme":           {Config: httppost.Config{URL: "es:9200"}},
		"zstd":             {Config: httppost.Config{URL: "http://es:9200", Compress: httppost.Zstd}},
		"two identities":   {Config: httppost.Config{URL: "http://es:9200", Username: "u"}, APIKey: "k"},
		"no such variable": {Config: url, APIKey: "{env.NO_SUCH_VARIABLE}"},
		"key with newline": {Config: url, APIKey: "a\nb"},
		"upper case":       {Config: url, Index: "Logs"},
		"underscore":       {Config: url, Index: "_all"},
		"wildcard":         {Config: url, Index: "logs-*"},
		"quote":            {Config: url, Index: `a"b`},
		"unknown layout":   {Config: url, Index: "logs-%H"},
		"too long":         {Config: url, Index: strings.Repeat("x", 256)},
	} {
		err := s.Provision(gatehousetest.Context(t))
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "a\nb") {
			t.Errorf("%s: the error tells the secret: %v", name, err)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	t.Setenv("FIXTURE_SPOOL", t.TempDir())
	t.Setenv("ES_KEY", "c2VjcmV0")
	gatehousetest.Fixtures(t, "testdata/*.caddyfiletest")
}

func FuzzCaddyfile(f *testing.F) {
	sinkstest.Fuzz(f, func() caddyfile.Unmarshaler { return new(elasticsearch.Sink) },
		"elasticsearch http://es:9200", "elasticsearch http://es:9200 {\n index a-%Y\n api_key k\n pipeline p\n compress none\n}",
		"elasticsearch {env.ES} {\n header A b\n basic_auth u p\n}", "elasticsearch", "elasticsearch x", "elasticsearch http://es {\n index A\n}")
}

func BenchmarkSend(b *testing.B) {
	url := sinkstest.Serve(b, sinkstest.Answer(200, `{"errors":false,"items":[`+strings.TrimSuffix(strings.Repeat(`{"create":{"status":201}},`, 5000), ",")+`]}`))
	s := gatehousetest.Provision(b, &elasticsearch.Sink{Config: httppost.Config{URL: url}})
	batch := logshiptest.Batch(1, logshiptest.Access(5000)...)
	for b.Loop() {
		if err := s.Send(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*5000/b.Elapsed().Seconds(), "lines/s")
}
