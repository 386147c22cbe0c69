// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	_ "github.com/gatehouse-proxy/gatehouse/modules/idempotency"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/memory"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/redis"
)

// start runs a site with options for idempotency_key before an application.
func start(t *testing.T, options string) (*gatehousetest.Server, *application) {
	t.Helper()
	app := newApplication(t)
	return gatehousetest.Start(t, site(app, options)), app
}

func site(app *application, options string) string {
	return fmt.Sprintf(":8080 {\n\tidempotency_key {\n%s\n\t}\n\treverse_proxy %s\n}\n", options, strings.TrimPrefix(app.URL, "http://"))
}

func post(s *gatehousetest.Server, path, key, body string, headers ...string) gatehousetest.Response {
	return s.Do(http.MethodPost, s.URL(":8080")+path, body, append([]string{"Idempotency-Key: " + key}, headers...)...)
}

type problem struct {
	Type      string
	Operation string
	Detail    string
	SafeNew   *bool `json:"safe_new_key"`
	Original  int   `json:"original_status"`
}

func expect(t *testing.T, resp gatehousetest.Response, status int, fragment string) problem {
	t.Helper()
	var p problem
	err := json.Unmarshal([]byte(resp.Body), &p)
	if resp.StatusCode != status || err != nil || !strings.HasSuffix(p.Type, "#"+fragment) {
		t.Fatalf("got %d %q, want %d with a problem of type #%s", resp.StatusCode, resp.Body, status, fragment)
	}
	if link := resp.Header.Get("Link"); !strings.HasSuffix(link, `>; rel="describedby"`) {
		t.Errorf("the refusal has the Link %q", link)
	}
	return p
}

func expectReplay(t *testing.T, first, second gatehousetest.Response) {
	t.Helper()
	if second.StatusCode != first.StatusCode || second.Body != first.Body {
		t.Fatalf("got %d %q, want the replay of %d %q", second.StatusCode, second.Body, first.StatusCode, first.Body)
	}
	if second.Header.Get("Idempotent-Replayed") != "true" || first.Header.Get("Idempotent-Replayed") != "" {
		t.Errorf("marked as replayed: first %q, second %q", first.Header.Get("Idempotent-Replayed"), second.Header.Get("Idempotent-Replayed"))
	}
}

func TestReplay(t *testing.T) {
	s, app := start(t, "")
	first := post(s, "/orders?b=2&a=1", `"k1"`, "soap")
	second := post(s, "/orders?a=1&b=2", "k1", "soap")
	expectReplay(t, first, second)
	if app.effects.Load() != 1 || first.StatusCode != 201 || first.Body != "order 1: soap" {
		t.Fatalf("%d effects, first answer %d %q", app.effects.Load(), first.StatusCode, first.Body)
	}
	for name, want := range map[string][2]string{
		"Location": {"/orders/1", "/orders/1"}, "Set-Cookie": {"session=secret", ""}, "X-Request-Cost": {"3", ""},
		"Content-Type": {"text/plain; charset=utf-8", "text/plain; charset=utf-8"}, "Cache-Control": {"", "no-store"},
	} {
		if got := [2]string{first.Header.Get(name), second.Header.Get(name)}; got != want {
			t.Errorf("%s: first and replayed %q, want %q", name, got, want)
		}
	}
}

func TestDifferentRequestsAreMismatches(t *testing.T) {
	s, app := start(t, "")
	post(s, "/orders", "k", "soap", "Content-Type: text/plain")
	for name, again := range map[string]func() gatehousetest.Response{
		"body":  func() gatehousetest.Response { return post(s, "/orders", "k", "tea", "Content-Type: text/plain") },
		"path":  func() gatehousetest.Response { return post(s, "/other", "k", "soap", "Content-Type: text/plain") },
		"query": func() gatehousetest.Response { return post(s, "/orders?x=1", "k", "soap", "Content-Type: text/plain") },
		"type":  func() gatehousetest.Response { return post(s, "/orders", "k", "soap", "Content-Type: text/html") },
		"host": func() gatehousetest.Response {
			return post(s, "/orders", "k", "soap", "Content-Type: text/plain", "Host: x.example")
		},
		"method": func() gatehousetest.Response {
			return s.Do("PATCH", s.URL(":8080")+"/orders", "soap", "Idempotency-Key: k", "Content-Type: text/plain")
		},
	} {
		t.Run(name, func(t *testing.T) { expect(t, again(), 422, "key-reused") })
	}
	if app.effects.Load() != 1 {
		t.Fatalf("%d effects", app.effects.Load())
	}
}

func TestKeys(t *testing.T) {
	s, app := start(t, "require /orders*\nmax_key 20")
	expect(t, s.Do("POST", s.URL(":8080")+"/orders/1", ""), 400, "key-missing")
	if resp := s.Do("POST", s.URL(":8080")+"/other", ""); resp.StatusCode != 201 {
		t.Fatalf("a request that needs no key: %d", resp.StatusCode)
	}
	for _, key := range []string{"", `""`, `"open`, "two words", "a,b", "123456789012345678901", `"k", "l"`, "käse", `"k" x`, `?1 ?`} {
		expect(t, post(s, "/orders", key, ""), 400, "key-malformed")
	}
	expect(t, post(s, "/orders", "k", "", "Idempotency-Key: k"), 400, "key-malformed")
	if app.effects.Load() != 1 {
		t.Fatalf("%d effects", app.effects.Load())
	}
}

func TestStrictKeys(t *testing.T) {
	s, _ := start(t, "strict")
	expect(t, post(s, "/orders", "bare", ""), 400, "key-malformed")
	if resp := post(s, "/orders", `"quoted"; version=2`, ""); resp.StatusCode != 201 {
		t.Fatalf("a string: %d", resp.StatusCode)
	}
}

func TestBodies(t *testing.T) {
	s, app := start(t, "max_body 10B")
	expect(t, post(s, "/orders", "k", "12345678901"), 413, "body-too-large")
	if resp := post(s, "/orders", "k", "1234567890"); resp.StatusCode != 201 {
		t.Fatalf("a body of max_body: %d %s", resp.StatusCode, resp.Body)
	}
	chunked, err := http.NewRequest("POST", s.URL(":8080")+"/orders", io.MultiReader(strings.NewReader("123456"), strings.NewReader("789012")))
	if err != nil {
		t.Fatal(err)
	}
	chunked.Header.Set("Idempotency-Key", "l")
	resp, err := s.Client.Do(chunked)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 413 || app.effects.Load() != 1 {
		t.Fatalf("a chunked body over max_body: %d, %d effects", resp.StatusCode, app.effects.Load())
	}
}

// A body that ends early claims nothing: the same key works afterwards.
func TestBodyThatBreaksOff(t *testing.T) {
	s, app := start(t, "")
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(":8080"), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "POST /orders HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: 100\r\n\r\nhalf")
	_ = conn.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(conn)
	_ = conn.Close()
	if !strings.Contains(string(answer), "400 Bad Request") {
		t.Errorf("answered %q", answer)
	}
	if resp := post(s, "/orders", "k", "whole"); resp.StatusCode != 201 || app.effects.Load() != 1 {
		t.Fatalf("afterwards: %d, %d effects", resp.StatusCode, app.effects.Load())
	}
}

// A handler that writes nothing has answered 200, as net/http has it.
func TestNothingWritten(t *testing.T) {
	s := gatehousetest.Start(t, ":8080 {\n\tidempotency_key\n}")
	for range 2 {
		if resp := post(s, "/", "k", ""); resp.StatusCode != 200 || resp.Body != "" {
			t.Fatalf("got %d %q", resp.StatusCode, resp.Body)
		}
	}
}

func TestUpgradeIsIgnored(t *testing.T) {
	s, app := start(t, "")
	resp := post(s, "/orders", "k", "", "Connection: Upgrade", "Upgrade: websocket", "Expect: 100-continue", "X-Forwarded-Method: GET")
	if resp.StatusCode != 201 {
		t.Fatalf("got %d %q", resp.StatusCode, resp.Body)
	}
	for _, name := range []string{"Upgrade", "Expect", "X-Forwarded-Method"} {
		if value := app.seen().Header.Get(name); value != "" {
			t.Errorf("the application got %s: %s", name, value)
		}
	}
}

// Whoever double-clicks gets the answer twice, and one order.
func TestDoubleClick(t *testing.T) {
	s, app := start(t, "")
	var group sync.WaitGroup
	answers := make([]gatehousetest.Response, 20)
	for i := range answers {
		group.Go(func() {
			resp, err := s.Try("POST", s.URL(":8080")+"/slow", "soap", "Idempotency-Key: k")
			if err != nil {
				t.Error(err)
			}
			answers[i] = resp
		})
	}
	gatehousetest.Eventually(t, "19 wait", func() bool { return metric(t, s, `gatehouse_idempotency_waiting{store="memory"}`) == 19 })
	close(app.release)
	group.Wait()
	for _, answer := range answers {
		if answer.StatusCode != 201 || answer.Body != "order 1: soap" {
			t.Errorf("got %d %q", answer.StatusCode, answer.Body)
		}
	}
}

func TestInFlight(t *testing.T) {
	s, app := start(t, "wait 0s")
	go func() { _, _ = s.Try("POST", s.URL(":8080")+"/slow", "", "Idempotency-Key: k") }()
	gatehousetest.Eventually(t, "the first arrives", func() bool { return app.effects.Load() == 1 })
	resp := post(s, "/slow", "k", "")
	if p := expect(t, resp, 409, "in-flight"); resp.Header.Get("Retry-After") != "1" || len(p.Operation) != 32 {
		t.Errorf("Retry-After %q, operation %q", resp.Header.Get("Retry-After"), p.Operation)
	}
	expect(t, post(s, "/slow", "k", "another"), 422, "key-reused")
	close(app.release)
}

// Waiting requests are limited by their number and by the size of their bodies; further ones are refused at once.
func TestWaitersAreLimited(t *testing.T) {
	for _, limit := range []string{"max_waiters 2", "max_waiting_size 10B"} { // bodies of 4 bytes
		t.Run(limit, func(t *testing.T) {
			s, app := start(t, limit+"\nwait 1m")
			var group sync.WaitGroup
			for range 3 { // one is carried out
				group.Go(func() {
					if resp, err := s.Try("POST", s.URL(":8080")+"/slow", "soap", "Idempotency-Key: k"); err != nil || resp.StatusCode != 201 {
						t.Errorf("got %d %q, %v", resp.StatusCode, resp.Body, err)
					}
				})
			}
			gatehousetest.Eventually(t, "two wait", func() bool { return metric(t, s, `gatehouse_idempotency_waiting_bytes{store="memory"}`) == 8 })
			expect(t, post(s, "/slow", "k", "soap"), 409, "in-flight")
			close(app.release)
			group.Wait()
		})
	}
}

// A client that leaves neither aborts nor repeats the work.
func TestClientLeaves(t *testing.T) {
	s, app := start(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", s.URL(":8080")+"/slow", strings.NewReader("soap"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", "k")
	gone := make(chan error)
	go func() {
		resp, err := s.Client.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		gone <- err
	}()
	gatehousetest.Eventually(t, "the request arrives", func() bool { return app.effects.Load() == 1 })
	cancel()
	if err := <-gone; err == nil {
		t.Fatal("the client did not leave")
	}
	close(app.release)
	if resp := post(s, "/slow", "k", "soap"); resp.StatusCode != 201 || resp.Body != "order 1: soap" || app.effects.Load() != 1 {
		t.Fatalf("when it comes back: %d %q, %d effects", resp.StatusCode, resp.Body, app.effects.Load())
	}
}

// An answer that breaks off is never kept, and its request never sent again.
func TestUnknown(t *testing.T) {
	for _, path := range []string{"/reset", "/truncated", "/status/502", "/status/504", "/status/499"} {
		t.Run(path, func(t *testing.T) {
			s, app := start(t, "")
			want := map[string]int{"/status/504": 504}[path]
			if want == 0 {
				want = 502
			}
			first := expect(t, post(s, path, "k", "soap"), want, "outcome-unknown")
			resp := post(s, path, "k", "soap")
			again := expect(t, resp, 409, "outcome-unknown")
			if again.Operation != first.Operation || again.SafeNew == nil || *again.SafeNew || resp.Header.Get("Retry-After") != "" {
				t.Errorf("first %+v, then %+v", first, again)
			}
			expect(t, post(s, path, "k", "tea"), 422, "key-reused")
			if app.effects.Load() != 1 {
				t.Fatalf("%d effects", app.effects.Load())
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	s, app := start(t, "timeout 1s") // it is sent by then
	expect(t, post(s, "/slow", "k", ""), 504, "outcome-unknown")
	expect(t, post(s, "/slow", "k", ""), 409, "outcome-unknown")
	if app.effects.Load() != 1 {
		t.Fatalf("%d effects", app.effects.Load())
	}
}

// What the application is proven not to have seen frees the key.
func TestUnsentIsReleased(t *testing.T) {
	app := newApplication(t)
	nowhere := gatehousetest.FreeAddress(t)
	s := gatehousetest.Start(t, ":8080 {\n idempotency_key\n reverse_proxy "+nowhere+"\n}")
	if resp := post(s, "/orders", "k", "soap"); resp.StatusCode != 502 {
		t.Fatalf("no application: %d %q", resp.StatusCode, resp.Body)
	}
	if err := s.Reload(site(app, "")); err != nil {
		t.Fatal(err)
	}
	if resp := post(s, "/orders", "k", "soap"); resp.StatusCode != 201 {
		t.Fatalf("afterwards: %d %q", resp.StatusCode, resp.Body)
	}
}

func TestStatuses(t *testing.T) {
	s, app := start(t, "release_status 418 429")
	for path, effects := range map[string]int64{
		"/status/200": 1, "/status/303": 1, "/status/400": 1, "/status/500": 1, "/status/501": 1, "/status/503": 1,
		"/status/418": 2, "/status/429": 2, "/status/503?retry": 2,
	} {
		before := app.effects.Load()
		first := post(s, path, path, "")
		second := post(s, path, path, "")
		if first.StatusCode != second.StatusCode || app.effects.Load()-before != effects {
			t.Errorf("%s: %d and %d, %d effects; want %d", path, first.StatusCode, second.StatusCode, app.effects.Load()-before, effects)
		}
	}
}

func TestPolicies(t *testing.T) {
	s, app := start(t, "")
	for policy, want := range map[string]struct {
		effects int64
		status  int
	}{
		"release": {2, 201}, "no-store": {1, 409}, "ttl=1h": {1, 201}, "nonsense": {1, 201},
	} {
		before := app.effects.Load()
		path := "/policy?policy=" + policy
		if first := post(s, path, policy, ""); first.StatusCode != 201 || first.Header.Get("Idempotency-Policy") != "" {
			t.Errorf("%s: %d, header %q", policy, first.StatusCode, first.Header.Get("Idempotency-Policy"))
		}
		if second := post(s, path, policy, ""); second.StatusCode != want.status || app.effects.Load()-before != want.effects {
			t.Errorf("%s: then %d, %d effects; want %+v", policy, second.StatusCode, app.effects.Load()-before, want)
		}
	}
}

func TestAnswersThatAreNotKept(t *testing.T) {
	s, app := start(t, "max_response 2KiB")
	for _, path := range []string{"/large", "/events"} {
		first := post(s, path, path, "")
		if first.StatusCode != 200 || len(first.Body) < 9 || first.Header.Get("Set-Cookie") == "" {
			t.Fatalf("%s: %d %q", path, first.StatusCode, first.Body)
		}
		if p := expect(t, post(s, path, path, ""), 409, "result-unavailable"); p.Original != 200 {
			t.Errorf("%s: original status %d", path, p.Original)
		}
	}
	if app.effects.Load() != 2 {
		t.Fatalf("%d effects", app.effects.Load())
	}
}

func TestScopes(t *testing.T) {
	s, app := start(t, "scope {http.request.cookie.session}")
	who := [][]string{
		nil, {"Authorization: Bearer a"}, {"Authorization: Bearer b"}, {"X-Api-Key: a"}, {"Cookie: session=a"}, {"Cookie: session=b"},
	}
	for i, headers := range who {
		resp := post(s, "/orders", "k", "soap", headers...)
		if want := fmt.Sprintf("order %d: soap", i+1); resp.Body != want {
			t.Errorf("%v: %q, want %q", headers, resp.Body, want)
		}
	}
	for i, headers := range who {
		if resp := post(s, "/orders", "k", "soap", headers...); resp.Body != fmt.Sprintf("order %d: soap", i+1) {
			t.Errorf("%v: %q", headers, resp.Body)
		}
	}
	if app.effects.Load() != int64(len(who)) {
		t.Fatalf("%d effects", app.effects.Load())
	}
}

func TestAnonymousReject(t *testing.T) {
	s, app := start(t, "anonymous reject")
	expect(t, post(s, "/orders", "k", ""), 400, "identity-required")
	if resp := post(s, "/orders", "k", "", "X-Api-Key: a"); resp.StatusCode != 201 || app.effects.Load() != 1 {
		t.Fatalf("%d, %d effects", resp.StatusCode, app.effects.Load())
	}
}

func TestProbe(t *testing.T) {
	for is, want := range map[string]struct {
		status  int
		body    string
		effects int64
	}{
		"done":    {200, "found by a probe", 1},
		"nothing": {502, "", 2},
		"unclear": {409, "", 1},
	} {
		t.Run(is, func(t *testing.T) {
			s, app := start(t, "on_unknown probe /status?is="+is+"&key={http.request.header.Idempotency-Key}")
			expect(t, post(s, "/reset", "k", ""), 502, "outcome-unknown")
			resp := post(s, "/reset", "k", "")
			if resp.StatusCode != want.status || want.body != "" && resp.Body != want.body || app.effects.Load() != want.effects {
				t.Fatalf("got %d %q, %d effects; want %+v", resp.StatusCode, resp.Body, app.effects.Load(), want)
			}
		})
	}
}

func TestRetryOfUnknown(t *testing.T) {
	s, app := start(t, "on_unknown retry")
	post(s, "/reset", "k", "")
	post(s, "/reset", "k", "")
	if app.effects.Load() != 2 {
		t.Fatalf("%d effects", app.effects.Load())
	}
}

func TestDryRun(t *testing.T) {
	s, app := start(t, "dry_run\nrequire\nmax_body 10B")
	for i, request := range []func() gatehousetest.Response{
		func() gatehousetest.Response { return post(s, "/orders", "k", "soap") },
		func() gatehousetest.Response { return post(s, "/orders", "k", "soap") },
		func() gatehousetest.Response { return post(s, "/orders", "k", "tea") },
		func() gatehousetest.Response { return post(s, "/orders", "two words", "tea") },
		func() gatehousetest.Response { return s.Do("POST", s.URL(":8080")+"/orders", "tea") },
		func() gatehousetest.Response { return post(s, "/orders", "l", "longer than max_body") },
	} {
		if resp := request(); resp.StatusCode != 201 || !strings.HasPrefix(resp.Body, fmt.Sprintf("order %d: ", i+1)) || resp.Header.Get("Set-Cookie") == "" {
			t.Fatalf("request %d: %d %q", i, resp.StatusCode, resp.Body)
		}
	}
	for outcome, want := range map[string]float64{"executed": 1, "replayed": 1, "mismatch": 1, "malformed": 1, "missing": 1, "too_large": 1} {
		if got := metric(t, s, `gatehouse_idempotency_requests_total{mode="dry_run",outcome="`+outcome+`"}`); got < want {
			t.Errorf("%s: counted %v", outcome, got)
		}
	}
	_ = app
}

// metric reads one series of the running config; 0 if it is not there.
func metric(t testing.TB, s *gatehousetest.Server, series string) (value float64) {
	t.Helper()
	for line := range strings.Lines(s.Admin("GET", "/metrics", "").Body) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				t.Fatal(err)
			}
		}
	}
	return value
}
