// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/idempotency"
)

// measuring says that figures are measured, with GATEHOUSE_FIGURES=1 on a machine that does nothing else. Elsewhere no test
// fails for a time that something took.
func measuring() bool { return os.Getenv("GATEHOUSE_FIGURES") != "" }

// redisSite is a site with records in Redis, with the default timeouts where figures are measured, and elsewhere with ones that a
// busy machine keeps.
func redisSite(server *gatehousetest.Redis, app *application, options string) string {
	patience := ""
	if !measuring() {
		patience, options = " {\n\t\ttimeout 20s\n\t\tprobe {\n\t\t\ttimeout 1s\n\t\t}\n\t}", options+"\nstore_timeout 10s"
	}
	return fmt.Sprintf("{\n\tredis %s%s\n}\n", server.URL(), patience) + site(app, options)
}

// calls is how many scripts Redis has run.
func calls(t testing.TB, server *gatehousetest.Redis) int {
	t.Helper()
	conn, err := net.Dial("tcp", server.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "INFO commandstats\r\nQUIT\r\n")
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_eval"); ok {
			_, number, _ := strings.Cut(rest, "calls=")
			number, _, _ = strings.Cut(number, ",")
			n, err := strconv.Atoi(number)
			if err != nil {
				t.Fatal(err)
			}
			total += n
		}
	}
	return total
}

// rest returns when the request before is over: its connection takes no other until then, although its answer was given.
func rest(s *gatehousetest.Server) { s.Do("POST", s.URL(":8080")+"/", "") }

// A first run costs two round trips, a replay or a refusal one, and a request without a key none.
func TestRoundTrips(t *testing.T) {
	server, app := gatehousetest.StartRedis(t), newApplication(t)
	s := gatehousetest.Start(t, redisSite(server, app, ""))
	post(s, "/orders", "warm", "soap") // Redis learns the scripts
	rest(s)
	for name, c := range map[string]struct {
		request func() gatehousetest.Response
		want    int
	}{
		"1 first":       {func() gatehousetest.Response { return post(s, "/orders", "k", "soap") }, 2},
		"2 replay":      {func() gatehousetest.Response { return post(s, "/orders", "warm", "soap") }, 1},
		"3 mismatch":    {func() gatehousetest.Response { return post(s, "/orders", "warm", "tea") }, 1},
		"4 without key": {func() gatehousetest.Response { return s.Do("POST", s.URL(":8080")+"/orders", "soap") }, 0},
		"5 malformed":   {func() gatehousetest.Response { return post(s, "/orders", "a b", "soap") }, 0},
	} {
		before := calls(t, server)
		c.request()
		rest(s)
		if got := calls(t, server) - before; got != c.want {
			t.Errorf("%s: %d round trips, want %d", name, got, c.want)
		}
	}
}

// With Redis down, requests get 503 within 250 ms and none reaches the application; when it is back they go on.
func TestRedisDown(t *testing.T) {
	for name, breakIt := range map[string]func(*gatehousetest.Redis){"killed": (*gatehousetest.Redis).Kill, "stalled": (*gatehousetest.Redis).Pause} {
		t.Run(name, func(t *testing.T) {
			server, app := gatehousetest.StartRedis(t), newApplication(t)
			s := gatehousetest.Start(t, redisSite(server, app, ""))
			if resp := post(s, "/orders", "before", "soap"); resp.StatusCode != 201 {
				t.Fatalf("before: %d %s", resp.StatusCode, resp.Body)
			}
			breakIt(server)
			var slowest time.Duration
			for i := range 20 {
				begun := time.Now()
				resp := post(s, "/orders", fmt.Sprint("k", i), "soap")
				slowest = max(slowest, time.Since(begun))
				expect(t, resp, 503, "store-unavailable")
				if resp.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			}
			t.Logf("the slowest of 20 refusals took %v", slowest)
			if measuring() && slowest > 250*time.Millisecond || app.effects.Load() != 1 {
				t.Errorf("slowest %v, %d effects", slowest, app.effects.Load())
			}
			if resp := s.Do("POST", s.URL(":8080")+"/orders", ""); resp.StatusCode != 201 {
				t.Errorf("without a key: %d", resp.StatusCode)
			}
			if name == "killed" {
				server.Start()
			} else {
				server.Resume()
			}
			gatehousetest.Eventually(t, "it works again", func() bool { return post(s, "/orders", "after", "soap").StatusCode == 201 })
		})
	}
}

func TestRedisDownOpen(t *testing.T) {
	server, app := gatehousetest.StartRedis(t), newApplication(t)
	s := gatehousetest.Start(t, redisSite(server, app, "on_store_error open"))
	post(s, "/orders", "before", "soap")
	server.Kill()
	resp := post(s, "/orders", "k", "soap")
	if resp.StatusCode != 201 || resp.Header.Get("Idempotency-Status") != "unprotected" || !strings.HasSuffix(resp.Body, ": soap") {
		t.Fatalf("%d %v %q", resp.StatusCode, resp.Header, resp.Body)
	}
}

// An answer whose record cannot be stored is given all the same, and stored when Redis is back.
func TestRedisDownAtTheEnd(t *testing.T) {
	server, app := gatehousetest.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always"), newApplication(t)
	s := gatehousetest.Start(t, redisSite(server, app, ""))
	first := make(chan gatehousetest.Response, 1)
	go func() {
		resp, err := s.Try("POST", s.URL(":8080")+"/slow", "soap", "Idempotency-Key: k")
		if err != nil {
			t.Error(err)
		}
		first <- resp
	}()
	gatehousetest.Eventually(t, "the request arrives", func() bool { return app.effects.Load() == 1 })
	server.Kill()
	close(app.release)
	answer := <-first
	if answer.StatusCode != 201 || answer.Body != "order 1: soap" {
		t.Fatalf("the true answer: %d %q", answer.StatusCode, answer.Body)
	}
	server.Start()
	var second gatehousetest.Response
	gatehousetest.Eventually(t, "the answer is stored", func() bool {
		second = post(s, "/slow", "k", "soap")
		return second.StatusCode == 201
	})
	expectReplay(t, answer, second)
	if app.effects.Load() != 1 {
		t.Fatalf("%d effects", app.effects.Load())
	}
}

// What Redis holds tells neither keys nor tokens nor, encrypted, bodies.
func TestRedisHoldsNoSecrets(t *testing.T) {
	server, app := gatehousetest.StartRedis(t), newApplication(t)
	s := gatehousetest.Start(t, redisSite(server, app, "secret 0123456789abcdef\nencrypt"))
	post(s, "/orders/private", "the-idempotency-key", "the-private-body", "Authorization: Bearer the-token")
	rest(s)
	conn, err := net.Dial("tcp", server.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "KEYS *\r\n")
	in := bufio.NewReader(conn)
	var key string
	for i := range 3 {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			key = strings.TrimSpace(line)
		}
	}
	fmt.Fprintf(conn, "HGETALL %s\r\nQUIT\r\n", key)
	dump, err := io.ReadAll(in)
	if err != nil || !bytes.Contains(dump, []byte("complete")) {
		t.Fatalf("%q, %v", dump, err)
	}
	for _, secret := range []string{"the-idempotency-key", "the-token", "the-private-body", "private"} {
		if bytes.Contains(dump, []byte(secret)) || strings.Contains(key, secret) {
			t.Errorf("Redis holds %q", secret)
		}
	}
}

// A thousand random responses are replayed byte by byte.
func TestFidelity(t *testing.T) {
	chance := rand.New(rand.NewPCG(7, 7))
	statuses := []int{200, 201, 202, 204, 206, 301, 303, 304, 400, 401, 403, 404, 409, 422, 500, 501, 503}
	var status int
	var body []byte
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Not-Listed", "x")
		w.Header().Set("ETag", `"x"`)
		w.WriteHeader(status)
		if status != 204 && status != 304 {
			for rest := body; len(rest) > 0; { // in pieces, chunked
				n := min(len(rest), 1+chance.IntN(20_000))
				_, _ = w.Write(rest[:n])
				rest = rest[n:]
				if chance.IntN(3) == 0 {
					_ = http.NewResponseController(w).Flush()
				}
			}
		}
	}))
	t.Cleanup(upstream.Close)
	s := gatehousetest.Start(t, ":8080 {\n idempotency_key\n reverse_proxy "+strings.TrimPrefix(upstream.URL, "http://")+"\n}")
	for i := range 1000 {
		status, body = statuses[chance.IntN(len(statuses))], make([]byte, chance.IntN(1<<chance.IntN(18)))
		for j := range body {
			body[j] = byte(chance.Uint32())
		}
		key := fmt.Sprint("k", i)
		first := post(s, "/", key, "x")
		second := post(s, "/", key, "x")
		expectReplay(t, first, second)
		if second.Header.Get("X-Not-Listed") != "" || second.Header.Get("ETag") != `"x"` {
			t.Fatalf("replayed header: %v", second.Header)
		}
	}
}

// provisioned is a handler without a server.
func provisioned(t testing.TB, configure func(*idempotency.Handler)) *idempotency.Handler {
	t.Helper()
	h := new(idempotency.Handler)
	if configure != nil {
		configure(h)
	}
	return gatehousetest.Provision(t, h)
}

var nothing = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

// A request that needs no key and has none costs no allocation.
func TestWithoutKeyAllocatesNothing(t *testing.T) {
	h := provisioned(t, func(h *idempotency.Handler) { h.Require = caddyhttp.MatchPath{"/orders*"} })
	w := httptest.NewRecorder()
	for _, method := range []string{"POST", "GET"} {
		r := gatehousetest.Request(w, method, "/other", "203.0.113.7:1234")
		if allocs := testing.AllocsPerRun(1000, func() { _ = h.ServeHTTP(w, r, nothing) }); allocs != 0 {
			t.Errorf("%s: %v allocations", method, allocs)
		}
	}
}

func BenchmarkWithoutKey(b *testing.B) {
	h := provisioned(b, func(h *idempotency.Handler) { h.Require = caddyhttp.MatchPath{"/orders*"} })
	w := httptest.NewRecorder()
	r := gatehousetest.Request(w, "POST", "/other", "203.0.113.7:1234")
	b.ReportAllocs()
	for b.Loop() {
		_ = h.ServeHTTP(w, r, nothing)
	}
}

// BenchmarkHandler is what a first run and a replay cost the proxy, with records in memory.
func BenchmarkHandler(b *testing.B) {
	h := provisioned(b, func(h *idempotency.Handler) {
		h.StoreRaw = []byte(`{"store":"memory","max_records":100000000,"max_size":100000000000}`)
	})
	created := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusCreated)
		_, err := io.WriteString(w, "an order")
		return err
	})
	serve := func(key string) {
		w := httptest.NewRecorder()
		r := gatehousetest.Request(w, "POST", "/orders", "203.0.113.7:1234")
		r.Header.Set("Idempotency-Key", key)
		if err := h.ServeHTTP(w, r, created); err != nil || w.Code != http.StatusCreated {
			b.Fatal(w.Code, err)
		}
	}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			serve(fmt.Sprintf("%d-%d", time.Now().UnixNano(), n))
		}
	})
	b.Run("replay", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			serve("k")
		}
	})
}

// TestAddedLatency measures what idempotency_key with Redis adds to the median of a request, side by side with plain Caddy.
func TestAddedLatency(t *testing.T) {
	server, app := gatehousetest.StartRedis(t), newApplication(t)
	plain := fmt.Sprintf(":8081 {\n\treverse_proxy %s\n}\n", strings.TrimPrefix(app.URL, "http://"))
	s := gatehousetest.Start(t, redisSite(server, app, "")+plain)
	var with, without []time.Duration
	for i := range 1500 {
		for _, port := range []string{":8080", ":8081"} {
			begun := time.Now()
			resp := s.Do("POST", s.URL(port)+"/orders", "soap", fmt.Sprint("Idempotency-Key: k", i))
			took := time.Since(begun)
			if resp.StatusCode != 201 {
				t.Fatal(resp.StatusCode, resp.Body)
			}
			if port == ":8080" {
				with = append(with, took)
				rest(s) // or the next request bore what is left of this one
			} else {
				without = append(without, took)
			}
		}
	}
	added := quantile(with, 0.5) - quantile(without, 0.5)
	t.Logf("p50 %v with and %v without: %v added; p99 %v and %v", quantile(with, 0.5), quantile(without, 0.5), added,
		quantile(with, 0.99), quantile(without, 0.99))
	if measuring() && added > 150*time.Microsecond {
		t.Errorf("added %v to the median", added)
	}
}

func quantile(took []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(took))
	return sorted[int(q*float64(len(sorted)-1))]
}

// hold is what a waiter costs without idempotency_key: a handler of plain Caddy in which requests stay once their bodies are
// read, as they are for any application.
type hold struct{}

// held counts the requests in hold, which leave when let is closed.
var (
	held atomic.Int64
	let  = make(chan struct{})
)

func init() {
	caddy.RegisterModule(hold{})
	httpcaddyfile.RegisterHandlerDirective("hold", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		return hold{}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("hold", httpcaddyfile.Before, "reverse_proxy")
}

// CaddyModule returns the Caddy module information.
func (hold) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.hold", New: func() caddy.Module { return new(hold) }}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (hold) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if _, err := io.ReadAll(r.Body); err != nil {
		return err
	}
	held.Add(1)
	<-let
	w.WriteHeader(http.StatusCreated)
	return nil
}

// TestWaiters holds ten thousand requests with one key, and as many in plain Caddy, each on a connection of its own, and
// compares the memory.
func TestWaiters(t *testing.T) {
	n := min(10_000, openFiles()/2-200)
	var plain, waiting float64
	t.Run("plain", func(t *testing.T) {
		s := gatehousetest.Start(t, ":8080 {\n\thold\n}")
		plain = holdRequests(t, s, n, func() bool { return held.Load() == int64(n) }, func() { close(let) })
	})
	t.Run("waiting", func(t *testing.T) {
		app := newApplication(t)
		s := gatehousetest.Start(t, site(app, "wait 1m"))
		all := func() bool { return metric(t, s, `gatehouse_idempotency_waiting{store="memory"}`) == float64(n-1) }
		waiting = holdRequests(t, s, n, all, func() { close(app.release) })
		if app.effects.Load() != 1 {
			t.Errorf("%d effects", app.effects.Load())
		}
	})
	t.Logf("%d waiters take %.1f MB, and as many connections of plain Caddy %.1f MB: %.1f MB above", n, waiting, plain, waiting-plain)
	if waiting-plain > 100*float64(n)/10_000 {
		t.Errorf("%.1f MB above plain Caddy", waiting-plain)
	}
}

// holdRequests opens connections with a request each, and returns what they take, in MB, when all are held.
func holdRequests(t *testing.T, s *gatehousetest.Server, n int, all func() bool, release func()) float64 {
	t.Helper()
	before := memory()
	open := make([]net.Conn, n)
	for i := range open {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(":8080"), "http://"))
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer conn.Close()
		open[i] = conn
		fmt.Fprint(conn, "POST /slow HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: 4\r\n\r\nsoap")
	}
	gatehousetest.Eventually(t, "all are held", all)
	used := memory() - before
	release()
	in := bufio.NewReader(nil)
	for _, conn := range open {
		in.Reset(conn)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("%v %v", resp, err)
		}
	}
	return used
}

// memory is what the heap and the stacks take, in MB.
func memory() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse+m.StackInuse) / (1 << 20)
}

// Nothing is left after a hundred reloads under load, and what was known is known still.
func TestReloads(t *testing.T) {
	gatehousetest.NoLeaks(t)
	app := newApplication(t)
	s := gatehousetest.Start(t, site(app, ""))
	s.Client.Transport.(*http.Transport).DisableKeepAlives = true
	post(s, "/orders", "k", "soap")
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() { _, _ = s.Try("POST", s.URL(":8080")+"/orders", "soap", fmt.Sprint("Idempotency-Key: r", i%7)) })
		options := []string{"", "ttl 1h", "wait 0s"}[i%3]
		if err := s.Reload(site(app, options)); err != nil {
			t.Fatal(err)
		}
		if err := s.Reload(site(app, "lease 2h\nttl 1h")); err == nil {
			t.Fatal("a broken configuration is accepted")
		}
	}
	group.Wait()
	if resp := post(s, "/orders", "k", "soap"); resp.Body != "order 1: soap" || resp.Header.Get("Idempotent-Replayed") != "true" {
		t.Fatalf("after the reloads: %d %q", resp.StatusCode, resp.Body)
	}
	app.mu.Lock()
	defer app.mu.Unlock()
	if n := app.effects.Load(); n > 8 {
		t.Errorf("%d effects of 8 keys", n)
	}
}
