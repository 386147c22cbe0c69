// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// personal answers with what belongs to the user who asks, marked as such in one of the ways there are.
func personal(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	switch r.URL.Query().Get("by") {
	case "private":
		h.Set("Cache-Control", "private, max-age=60")
	case "no-store":
		h.Set("Cache-Control", "no-store")
	case "set-cookie":
		h.Set("Cache-Control", "public, max-age=60")
		h.Set("Set-Cookie", "session="+r.Header.Get("X-User"))
	case "authorization":
		h.Set("Cache-Control", "max-age=60")
	case "vary":
		h.Set("Cache-Control", "max-age=60")
		h.Set("Vary", "Cookie")
	case "cookie": // an application that says nothing, and a guess would be possible
		h.Set("Last-Modified", stamp(time.Now().Add(-1000*time.Hour)))
	}
	if rand.N(4) == 0 {
		time.Sleep(rand.N(2 * time.Millisecond))
	}
	_, _ = io.WriteString(w, "for "+r.Header.Get("X-User"))
}

// Users who ask for one URL at the same time never get anything of one another.
func TestIsolation(t *testing.T) {
	trials := figure(t, 10_000, 1_000) // meetings of users at one URL
	o := newOrigin(t, personal)
	s := front(t, o)
	ways := []string{"private", "no-store", "set-cookie", "authorization", "vary", "cookie"}
	var crossed, done atomic.Int64
	user := func(url, way, name string) {
		headers := []string{"X-User: " + name}
		switch way {
		case "authorization":
			headers = append(headers, "Authorization: Bearer "+name)
		case "vary", "cookie":
			headers = append(headers, "Cookie: session="+name)
		}
		for range 1 + rand.N(2) {
			resp, err := s.Try(http.MethodGet, url, "", headers...)
			if err != nil {
				t.Error(err)
				return
			}
			done.Add(1)
			if resp.Body != "for "+name || way == "set-cookie" && resp.Header.Get("Set-Cookie") != "session="+name {
				crossed.Add(1)
			}
		}
	}
	work := make(chan int)
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for trial := range work {
				way := ways[trial%len(ways)]
				url := fmt.Sprintf("%s/%d?by=%s", s.URL(":8080"), trial/2, way)
				var users sync.WaitGroup
				for u := range 2 + rand.N(3) {
					users.Go(func() { user(url, way, fmt.Sprintf("u%d-%d", trial, u)) })
				}
				users.Wait()
			}
		})
	}
	for trial := range trials {
		work <- trial
	}
	close(work)
	workers.Wait()
	t.Logf("%d trials, %d answers, %d crossed", trials, done.Load(), crossed.Load())
	if crossed.Load() > 0 {
		t.Errorf("%d answers were for another user", crossed.Load())
	}
}

// The check of TestIsolation must be able to fail: an origin that marks personal answers as public has them shared.
func TestIsolationControl(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		_, _ = io.WriteString(w, "for "+r.Header.Get("X-User"))
	})
	s := front(t, o)
	s.Get("/", "X-User: a")
	if got := s.Get("/", "X-User: b").Body; got != "for a" {
		t.Fatalf("got %q: nothing was shared, so the other test says nothing", got)
	}
}

// What a client sends outside of the key changes nothing that others get: cache poisoning.
func TestPoisoning(t *testing.T) {
	// The origin reflects everything that an attacker may send into an answer that it lets be stored for everybody, as long as the
	// field is part of no key. Only fields that the cache itself takes out of requests can be kept from it.
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = fmt.Fprintf(w, "encoding=%s range=%s inm=%s ims=%s ifrange=%s", r.Header.Get("Accept-Encoding"), r.Header.Get("Range"),
			r.Header.Get("If-None-Match"), r.Header.Get("If-Modified-Since"), r.Header.Get("If-Range"))
	})
	s := front(t, o)
	clean := s.Get("/clean").Body
	for i, attack := range [][]string{
		{"Accept-Encoding: evil, deflate"},
		{"Range: bytes=0-<script>"},
		{`If-None-Match: "<script>"`},
		{"If-Modified-Since: <script>"},
		{"Range: bytes=0-1", "If-Range: <script>"},
		{"Accept-Encoding: identity;q=0, evil"},
	} {
		path := fmt.Sprintf("/%d", i)
		s.Get(path, attack...)
		resp := s.Get(path)
		if !cached(resp) || resp.Body != clean {
			t.Errorf("%q planted %q (%s)", attack, resp.Body, resp.Header.Get("Cache-Status"))
		}
	}
}

// A body in a coding that a client does not accept is not given to it, also if the origin forgot Vary.
func TestForgottenVary(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "br") {
			w.Header().Set("Content-Encoding", "br")
		}
		_, _ = io.WriteString(w, "body")
	})
	s := front(t, o)
	s.Get("/", "Accept-Encoding: br")
	if resp := s.Get("/"); resp.Header.Get("Content-Encoding") != "" || cached(resp) {
		t.Errorf("a client without br got %q (%s)", resp.Header.Get("Content-Encoding"), resp.Header.Get("Cache-Status"))
	}
}

// Paths that look alike are different keys, and none is stored because of how it ends: cache deception.
func TestDeception(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { // an application that ignores the rest of a path
		if r.Header.Get("X-User") == "victim" {
			w.Header().Set("Content-Type", "text/html")
		}
		_, _ = io.WriteString(w, "for "+r.Header.Get("X-User"))
	})
	s := front(t, o, "ttl 200 1m")
	for _, path := range []string{
		"/account/x.css", "/account%2fx.css", "/account;x.css", "/account/..%2fstatic/x.js", "/account%00.css", "/account/%2e%2e/static.css", "/account?x.css", "/account%3fx.css",
	} {
		if resp := s.Get(path, "X-User: victim", "Cookie: session=victim"); resp.Body != "for victim" {
			t.Fatalf("%s: %q", path, resp.Body)
		}
		if resp := s.Get(path, "X-User: attacker"); resp.Body != "for attacker" {
			t.Errorf("%s gave the attacker %q (%s)", path, resp.Body, resp.Header.Get("Cache-Status"))
		}
	}
}

// Hosts are different keys, whatever their spelling pretends.
func TestHostsAreApart(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "host "+r.Host+" forwarded "+r.Header.Get("X-Forwarded-Host"))
	})
	s := front(t, o)
	first := s.Get("/", "Host: a.example", "X-Forwarded-Host: evil.example")
	if strings.Contains(first.Body, "evil") {
		t.Fatalf("the proxy believed the client: %q", first.Body)
	}
	for host, hit := range map[string]bool{"A.EXAMPLE": true, "a.example:80": true, "b.example": false, "a.example:8080": false, "a.example.evil": false} {
		if resp := s.Get("/", "Host: "+host); cached(resp) != hit {
			t.Errorf("%s: %s %q", host, resp.Header.Get("Cache-Status"), resp.Body)
		}
	}
}

// A rewrite that depends on the client makes different answers of one URI: they stay apart.
func TestRewritesAreApart(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, r.URL.Path)
	})
	s := gatehousetest.Start(t, ":8080 {\n@mobile header User-Agent *Mobile*\nrewrite @mobile /m{uri}\nresponse_cache\nreverse_proxy "+o.address()+"\n}")
	empty(t, s)
	for range 2 {
		if got := s.Get("/page", "User-Agent: Mobile").Body; got != "/m/page" {
			t.Errorf("mobile got %q", got)
		}
		if got := s.Get("/page").Body; got != "/page" {
			t.Errorf("desktop got %q", got)
		}
	}
	if n := o.hits.Load(); n != 2 {
		t.Errorf("%d requests reached the origin, want 2", n)
	}
	purge(t, s, fmt.Sprintf(`{"kind":"url","value":"%s/page"}`, s.URL(":8080"))) // the URI that the client sent
	if cached(s.Get("/page", "User-Agent: Mobile")) || cached(s.Get("/page")) {
		t.Error("a purge of the URL missed a rewritten one")
	}
}

// broken is an upstream that speaks HTTP by hand, to break off where it likes.
func broken(t *testing.T, answer string) string {
	t.Helper()
	return gatehousetest.Listen(t, func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, answer)
		}
	})
}

// An answer that breaks off is neither stored, nor taken for a whole one by any client.
func TestTruncatedAnswers(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n"
	for name, answer := range map[string]string{
		"Content-Length": head + "Content-Length: 100\r\n\r\nshort",
		"chunked":        head + "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
		"empty":          head + "Content-Length: 100\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			address := broken(t, answer)
			s := gatehousetest.Start(t, ":8080 {\nresponse_cache\nreverse_proxy "+address+"\n}")
			empty(t, s)
			var group sync.WaitGroup
			for range 20 {
				group.Go(func() {
					if resp, err := s.Try(http.MethodGet, s.URL(":8080")+"/", ""); err == nil {
						t.Errorf("a client got %s %q for a whole answer (%s)", resp.Status, resp.Body, resp.Header.Get("Cache-Status"))
					}
				})
			}
			group.Wait()
			resp := s.Admin(http.MethodGet, "/gatehouse/cache", "")
			if !strings.Contains(resp.Body, `"items":0`) || !strings.Contains(resp.Body, `"in_flight":0`) {
				t.Errorf("something was kept: %s", resp.Body)
			}
		})
	}
}

// Malformed, repeated and contradictory header fields of an upstream never make something storable that was not.
func TestContradictoryHeaders(t *testing.T) {
	for name, lines := range map[string][]string{
		"two Cache-Controls":      {"Cache-Control: max-age=60", "Cache-Control: no-store"},
		"public and private":      {"Cache-Control: public, private, max-age=60"},
		"no-store behind garbage": {`Cache-Control: x=", no-store`, "Cache-Control: no-store", "Cache-Control: max-age=60"},
		"two max-ages":            {"Cache-Control: max-age=0, max-age=60"},
		"fresh and expired":       {"Cache-Control: max-age=0", "Expires: " + stamp(time.Now().Add(time.Hour))},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, header("body", lines...))
			s := front(t, o)
			s.Get("/")
			if resp := s.Get("/"); cached(resp) {
				t.Errorf("stored: %s", resp.Header.Get("Cache-Status"))
			}
		})
	}
}
