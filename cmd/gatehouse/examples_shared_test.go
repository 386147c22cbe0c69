// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// TestExampleCluster runs two proxies with the same file.
func TestExampleCluster(t *testing.T) {
	redis := gatehousetest.StartRedis(t)
	app := startApplication(t, page)
	settings := []string{"REDIS=" + redis.URL(), "BALANCER=127.0.0.1", "APP1=" + app.address, "APP2=" + app.address}
	first, second := startExample(t, "cluster", settings...), startExample(t, "cluster", settings...)
	both := []*example{first, second}

	passed := 0
	for i := range 140 {
		if both[i%2].get("/private", "203.0.113.1").status == 200 {
			passed++
		}
	}
	if passed != 100 {
		t.Errorf("%d of 140 requests passed a limit of 100 on two proxies", passed)
	}

	first.command("bans", "add", "203.0.113.2")
	eventually(t, 5*time.Second, "a ban holds on the other proxy", func() bool { return second.get("/", "203.0.113.2").status == 403 })

	// What the load balancer sends has the same Host on both, which is a part of what an order and a page are.
	const site = "Host: shop.example"
	order := func(e *example) reply {
		return e.ask(http.MethodPost, "/orders", "soap", site, `Idempotency-Key: "soap-1"`)
	}
	first.wants("an order", order(first), 201)
	if r := order(second); r.status != 201 || r.header.Get("Idempotent-Replayed") != "true" || app.count("POST /orders") != 1 {
		t.Errorf("the order again at the other proxy: %d %v, %d orders", r.status, r.header, app.count("POST /orders"))
	}

	hit := func(e *example) bool {
		return strings.Contains(e.ask(http.MethodGet, "/news", "", site).header.Get("Cache-Status"), "; hit")
	}
	if hit(second); !hit(second) {
		t.Error("the second proxy does not cache")
	}
	first.command("cache", "purge", "http://shop.example/news")
	eventually(t, 5*time.Second, "a purge holds on the other proxy", func() bool { return !hit(second) })

	redis.Kill()
	for _, e := range both {
		e.wants("without Redis", e.get("/private", "203.0.113.4"), 200)
		e.wants("a banned client without Redis", e.get("/", "203.0.113.2"), 403)
		e.wants("an order without Redis", e.ask(http.MethodPost, "/orders", "soap", site, `Idempotency-Key: "soap-2"`), 503)
	}
}

func TestExampleCDN(t *testing.T) {
	app := startApplication(t, page)
	e := startExample(t, "cdn", "APP="+app.address, "CDN=127.0.0.1/32")
	const client = "203.0.113.9"
	for range 100 {
		e.wants("below the limit", e.get("/", client), 200)
	}
	e.wants("above the limit", e.get("/", client), 429)
	e.wants("who says to be another one", e.get("/", "198.51.100.1, "+client), 429)
	e.wants("another client of the CDN", e.get("/", "203.0.113.10"), 200)

	e.command("bans", "add", client)
	e.wants("a banned client", e.get("/", client), 403)
	e.wants("a banned client that says to be another one", e.get("/", "203.0.113.10, "+client), 403)
	e.wants("another client of the CDN", e.get("/", "203.0.113.10"), 200)

	if runtime.GOOS != "linux" {
		return // only there is all of 127.0.0.0/8 this machine's
	}
	before := app.count("GET /")
	around := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext,
	}}
	defer around.CloseIdleConnections()
	if r, err := e.try(around, http.MethodGet, "/", "", "X-Forwarded-For: 203.0.113.11"); err == nil || app.count("GET /") != before {
		t.Errorf("around the CDN: %+v", r)
	}
}

// receiver is where log lines arrive.
type receiver struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (r *receiver) take(lines ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, lines...)
}

func (r *receiver) text() (text string, lines int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n"), len(r.lines)
}

// loki takes what the push API takes.
func (r *receiver) loki(w http.ResponseWriter, req *http.Request) {
	var push struct {
		Streams []struct {
			Stream map[string]string
			Values [][]any
		}
	}
	body, err := gzip.NewReader(req.Body)
	if err != nil || req.URL.Path != "/loki/api/v1/push" || json.NewDecoder(body).Decode(&push) != nil {
		http.Error(w, "not a push", http.StatusBadRequest)
		return
	}
	for _, s := range push.Streams {
		for _, v := range s.Values {
			if s.Stream["env"] == "production" && s.Stream["method"] == "GET" {
				r.take(v[1].(string))
			}
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// ndjson takes lines.
func (r *receiver) ndjson(w http.ResponseWriter, req *http.Request) {
	body, err := zstd.NewReader(req.Body)
	if err != nil || req.Header.Get("Authorization") != "Bearer token" {
		http.Error(w, "not for me", http.StatusForbidden)
		return
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.take(strings.Split(strings.TrimSpace(string(text)), "\n")...)
}

// TestExampleLogs has one receiver that is away at first.
func TestExampleLogs(t *testing.T) {
	redis, app := gatehousetest.StartRedis(t), startApplication(t, page)
	var loki, archive receiver
	lokiServer := httptest.NewServer(http.HandlerFunc(loki.loki))
	t.Cleanup(lokiServer.Close)
	later := &application{address: gatehousetest.FreeAddress(t), handler: http.HandlerFunc(archive.ndjson), seen: map[string]int{}}
	e := startExample(t, "logs", "APP="+app.address, "REDIS="+redis.URL(), "LOKI="+lokiServer.URL, "LOG_TOKEN=token",
		"INGEST=http://"+later.address+"/", "SPOOL="+filepath.Join(t.TempDir(), "spool"))
	for range 20 {
		e.ask(http.MethodGet, "/", "", "Cookie: session=sesame", "Authorization: Bearer sesame")
	}
	eventually(t, 20*time.Second, "Redis has the lines", func() bool {
		length, err := redis.Command("XLEN gatehouse:1:logs:access")
		return err == nil && length == ":20"
	})
	later.start(t)
	t.Cleanup(later.stop)
	for name, r := range map[string]*receiver{"Loki": &loki, "the archive": &archive} {
		eventually(t, 40*time.Second, name+" has the lines", func() bool { _, n := r.text(); return n >= 20 })
		text, lines := r.text()
		if lines != 20 || strings.Contains(text, "sesame") || !strings.Contains(text, `"client_ip":"127.0.0.0"`) {
			t.Errorf("%s has %d lines:\n%.600s", name, lines, text)
		}
	}
}
