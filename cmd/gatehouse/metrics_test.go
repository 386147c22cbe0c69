// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// metricName is one of the project's metrics, or one of Caddy's or Go's that the pages name.
var metricName = regexp.MustCompile(`\b(gatehouse|caddy|go|process)_[a-z0-9_]*[a-z0-9]\b`)

// inTrouble are metrics that a proxy shows only once something has gone wrong, which this test does not bring about.
var inTrouble = []string{"gatehouse_logship_drops_total", "gatehouse_request_limit_not_given_back_total"}

// TestDocsMetrics holds every metric that the alerts and docs/operations.md name to those that a running proxy shows, and
// those of the other pages, so that none of them is a name that is no more.
func TestDocsMetrics(t *testing.T) {
	shown := scrapeEverything(t)
	alerts, err := os.ReadFile(filepath.Join(root, "caddyfiles", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	texts := pages(t)
	texts["caddyfiles/alerts.yml"] = string(alerts)
	named := 0
	for page, text := range texts {
		for _, name := range metricName.FindAllString(text, -1) {
			strict := strings.HasSuffix(page, "alerts.yml") || strings.HasSuffix(page, "operations.md")
			if !strict && !strings.HasPrefix(name, "gatehouse_") {
				continue
			}
			named++
			if !shown[name] && !slices.Contains(inTrouble, name) {
				t.Errorf("%s names the metric %s, which a running proxy does not show", page, name)
			}
		}
	}
	if named < 60 {
		t.Errorf("only %d names were found", named)
	}
}

// TestOperationsNamesEveryAlert holds that the page tells what to do about each.
func TestOperationsNamesEveryAlert(t *testing.T) {
	alerts, err := os.ReadFile(filepath.Join(root, "caddyfiles", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	page := pages(t)[filepath.Join("docs", "operations.md")]
	names := regexp.MustCompile(`(?m)^ *- alert: (\w+)$`).FindAllSubmatch(alerts, -1)
	for _, name := range names {
		if !strings.Contains(page, "`"+string(name[1])+"`") {
			t.Errorf("docs/operations.md does not name %s", name[1])
		}
	}
	if len(names) < 10 {
		t.Errorf("only %d alerts were found", len(names))
	}
}

// everything has each capability, on a few requests.
const everything = `{
	metrics
	redis {$REDIS}
	collector
	processors
	servers {
		trusted_proxies static 127.0.0.1
		trusted_proxies_strict
	}
}

{$SITE} {
	log {
		output ship {$SPOOL} {
			sink http {$INGEST}
		}
	}
	ip_ban {
		strike_on 404 after 2 in 1m for 1h
	}
	request_limit 5 1m
	request_limit /news* here {
		window 1000 1m
		store memory
	}
	response_cache 1MiB
	idempotency_key
	reverse_proxy {$APP} {
		lb_policy least_response_time {
			health /healthz {
				interval 100ms
			}
		}
	}
}
`

// scrapeEverything runs a proxy with all capabilities, has each of them do something, and returns the names of its metrics.
func scrapeEverything(t *testing.T) map[string]bool {
	redis := gatehousetest.StartRedis(t)
	app := startApplication(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/missing" {
			http.NotFound(w, r)
			return
		}
		page(w, r)
	})
	ingest := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(ingest.Close)
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(everything), 0o600); err != nil {
		t.Fatal(err)
	}
	e := startFile(t, file, "REDIS="+redis.URL(), "APP="+app.address, "INGEST="+ingest.URL, "SPOOL="+filepath.Join(t.TempDir(), "spool"))

	for range 7 {
		e.get("/private", "203.0.113.1")
	}
	for range 3 {
		e.get("/missing", "203.0.113.2")
	}
	e.get("/news", "203.0.113.3")
	e.ask(http.MethodPost, "/orders", "soap", "X-Forwarded-For: 203.0.113.4", "Idempotency-Key: soap-1")
	e.command("cache", "purge", "--soft", e.url+"/news")
	e.get("/news", "203.0.113.3")

	// What comes a moment later: a health check, a batch of lines.
	text := ""
	for _, name := range []string{"gatehouse_upstream_healthy", "gatehouse_logship_batch_seconds_count"} {
		eventually(t, 20*time.Second, name+" is shown", func() bool {
			text = e.metrics()
			return strings.Contains(text, "\n"+name)
		})
	}
	shown := map[string]bool{}
	for _, name := range regexp.MustCompile(`(?m)^[a-z]\w*`).FindAllString(text, -1) {
		shown[name] = true
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			shown[strings.TrimSuffix(name, suffix)] = true // as pages call a histogram
		}
	}
	return shown
}

// metrics is what Prometheus would read.
func (e *example) metrics() string {
	e.t.Helper()
	resp, err := e.client.Get(e.admin + "/metrics")
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return string(text)
}
