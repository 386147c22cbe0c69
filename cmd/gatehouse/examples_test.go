// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// example is a file of caddyfiles/, unchanged, in a process of its own. What the file leaves to the environment, such as the
// application's address, comes from the test.
type example struct {
	t          *testing.T
	url, admin string
	client     *http.Client
}

// startExample runs a file of caddyfiles/ with settings of the environment as NAME=value.
func startExample(t *testing.T, name string, settings ...string) *example {
	t.Helper()
	return startFile(t, filepath.Join(root, "caddyfiles", name+".caddyfile"), settings...)
}

func startFile(t *testing.T, file string, settings ...string) *example {
	t.Helper()
	site, admin := gatehousetest.FreeAddress(t), gatehousetest.FreeAddress(t)
	for _, setting := range append(settings, "SITE=http://:"+port(site), "CADDY_ADMIN="+admin) {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	e := &example{t: t, url: "http://" + site, admin: "http://" + admin, client: newClient(t)}
	start(t, binary(t), "run", "--config", file).says("serving initial configuration")
	return e
}

// reply is what a client gets.
type reply struct {
	status int
	header http.Header
	body   string
}

// ask sends a request with header fields as "Name: value".
func (e *example) ask(method, path, body string, fields ...string) reply {
	e.t.Helper()
	r, err := e.try(e.client, method, path, body, fields...)
	if err != nil {
		e.t.Fatal(err)
	}
	return r
}

// get asks as a client that a trusted proxy names.
func (e *example) get(path, client string) reply {
	e.t.Helper()
	return e.ask(http.MethodGet, path, "", "X-Forwarded-For: "+client)
}

func (e *example) try(client *http.Client, method, path, body string, fields ...string) (reply, error) {
	req, err := http.NewRequestWithContext(e.t.Context(), method, e.url+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		if req.Header.Set(name, value); name == "Host" {
			req.Host = value
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(text)}, err
}

// wants compares a status.
func (e *example) wants(what string, r reply, status int) {
	e.t.Helper()
	if r.status != status {
		e.t.Errorf("%s: %d %s, want %d", what, r.status, r.body, status)
	}
}

// command runs a command of the proxy's against it.
func (e *example) command(args ...string) {
	e.t.Helper()
	out, err := exec.Command(binary(e.t), append(args, "--address", strings.TrimPrefix(e.admin, "http://"))...).CombinedOutput()
	if err != nil {
		e.t.Fatalf("gatehouse %q: %v\n%s", args, err, out)
	}
}

// trustMe has the running proxy take this machine for a trusted proxy, so that a test can be several clients: the machine's own
// addresses are never banned.
func (e *example) trustMe() {
	e.t.Helper()
	for field, value := range map[string]string{
		"trusted_proxies": `{"source": "static", "ranges": ["127.0.0.1/32"]}`, "trusted_proxies_strict": "1",
	} {
		resp, err := e.client.Post(e.admin+"/config/apps/http/servers/srv0/"+field, "application/json", strings.NewReader(value))
		if err != nil {
			e.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			e.t.Fatalf("setting %s: %s", field, resp.Status)
		}
	}
}

// application is what an example stands in front of. It counts requests by method and path.
type application struct {
	address string
	handler http.Handler
	server  *http.Server

	mu   sync.Mutex // guards seen
	seen map[string]int
}

func startApplication(t *testing.T, handler http.HandlerFunc) *application {
	t.Helper()
	a := &application{address: gatehousetest.FreeAddress(t), handler: handler, seen: map[string]int{}}
	a.start(t)
	t.Cleanup(a.stop)
	return a
}

func (a *application) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", a.address)
	if err != nil {
		t.Fatal(err)
	}
	a.server = &http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	server := a.server
	go func() { _ = server.Serve(l) }() // ends by stop, with the error that says so
}

func (a *application) stop() { _ = a.server.Close() } // fails only for connections that are gone

// ServeHTTP implements http.Handler.
func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.seen[r.Method+" "+r.URL.Path]++
	a.mu.Unlock()
	a.handler.ServeHTTP(w, r)
}

// count tells how many requests of a method and path came.
func (a *application) count(request string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen[request]
}

// page is an application with the kinds of answers that the examples are about.
func page(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/login":
		http.Error(w, "wrong password", http.StatusUnauthorized)
	case "/private":
		w.Header().Set("Cache-Control", "private, max-age=60")
		_, _ = io.WriteString(w, "yours")
	case "/orders":
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "ordered")
	default:
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Cache-Control", "public, max-age=60")
		_, _ = io.WriteString(w, "client "+r.Header.Get("X-Forwarded-For")+strings.Repeat(" text", 200))
	}
}

func TestExampleApp(t *testing.T) {
	app := startApplication(t, page)
	e := startExample(t, "app", "APP="+app.address)
	if r := e.ask(http.MethodGet, "/", ""); r.status != 200 || !strings.HasPrefix(r.body, "client 127.0.0.1 ") {
		t.Errorf("%d %.40s", r.status, r.body)
	}
	if r := e.ask(http.MethodGet, "/", "", "Accept-Encoding: gzip"); r.header.Get("Content-Encoding") != "gzip" {
		t.Errorf("not compressed: %v", r.header)
	}
	e.wants("readiness", e.ask(http.MethodGet, "/ready", ""), 200)

	app.stop()
	time.Sleep(100 * time.Millisecond) // for the proxy to see its idle connections end: what was sent on one is not sent again
	got := make(chan reply, 1)
	go func() {
		r, err := e.try(e.client, http.MethodPost, "/restart", "form")
		if err != nil {
			t.Error(err)
		}
		got <- r
	}()
	time.Sleep(300 * time.Millisecond) // the application is away; the request waits
	app.start(t)
	if r := <-got; r.status != 200 || app.count("POST /restart") != 1 {
		t.Errorf("a request during a restart: %d, sent %d times", r.status, app.count("POST /restart"))
	}

	e.trustMe()
	e.command("bans", "add", "203.0.113.7", "--for", "1h")
	e.wants("a banned client", e.get("/", "203.0.113.7"), 403)
	e.wants("another one", e.get("/", "203.0.113.8"), 200)
}

func TestExampleAPI(t *testing.T) {
	app := startApplication(t, page)
	e := startExample(t, "api", "APP="+app.address)
	e.trustMe()

	const busy, guesser, buyer = "203.0.113.1", "203.0.113.2", "203.0.113.3"
	for range 300 {
		e.wants("below the limit", e.get("/", busy), 200)
	}
	r := e.get("/", busy)
	e.wants("above the limit", r, 429)
	if r.header.Get("Retry-After") == "" || !strings.Contains(r.header.Get("Content-Type"), "problem+json") {
		t.Errorf("the refusal says %v", r.header)
	}
	e.wants("another client", e.get("/", buyer), 200)

	for range 5 {
		e.wants("a guess", e.get("/login", guesser), 401)
	}
	for range 3 {
		e.wants("a guess too many", e.get("/login", guesser), 429)
	}
	e.wants("a guesser anywhere", e.get("/", guesser), 403)

	order := func(key string) reply {
		return e.ask(http.MethodPost, "/orders", "soap", "X-Forwarded-For: "+buyer, "Idempotency-Key: "+key)
	}
	e.wants("an order without a key", e.ask(http.MethodPost, "/orders", "soap", "X-Forwarded-For: "+buyer), 400)
	e.wants("an order", order("soap-1"), 201)
	r = order("soap-1")
	e.wants("the order again", r, 201)
	if n := app.count("POST /orders"); n != 1 || r.header.Get("Idempotent-Replayed") != "true" || r.body != "ordered" {
		t.Errorf("%d orders; the second answer is %q with %v", n, r.body, r.header)
	}
}

func TestExampleSite(t *testing.T) {
	app := startApplication(t, page)
	e := startExample(t, "site", "APP="+app.address)
	status := func(r reply) string { return r.header.Get("Cache-Status") }

	e.ask(http.MethodGet, "/news", "")
	for _, path := range []string{"/news", "/news?utm_source=mail"} {
		if r := e.ask(http.MethodGet, path, ""); !strings.Contains(status(r), "; hit") {
			t.Errorf("%s: %s", path, status(r))
		}
	}
	if r := e.ask(http.MethodGet, "/news", "", "Cookie: session=1"); strings.Contains(status(r), "; hit") || app.count("GET /news") != 2 {
		t.Errorf("with a session: %s", status(r))
	}
	for range 2 {
		e.ask(http.MethodGet, "/private", "")
	}
	if n := app.count("GET /private"); n != 2 {
		t.Errorf("of two requests for what is private, %d reached the application", n)
	}

	e.command("cache", "purge", e.url+"/news")
	if r := e.ask(http.MethodGet, "/news", ""); strings.Contains(status(r), "; hit") || app.count("GET /news") != 3 {
		t.Errorf("after a purge: %s", status(r))
	}
	app.stop()
	e.command("cache", "purge", "--soft", e.url+"/news")
	e.wants("a stale page while the application is down", e.ask(http.MethodGet, "/news", ""), 200)
	e.wants("what is not stored", e.ask(http.MethodGet, "/other", ""), 502)
}
