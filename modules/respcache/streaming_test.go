// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/respcache"
)

// slow answers as an application does that has to work: 300 ms to the first byte, then ten pieces of 1 KiB, 100 ms apart.
func slow(lines ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(300 * time.Millisecond)
		for _, line := range lines {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Add(name, value)
		}
		for i := range 10 {
			if i > 0 {
				time.Sleep(100 * time.Millisecond)
			}
			_, _ = io.WriteString(w, strings.Repeat(fmt.Sprint(i), 1024))
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// gated sends what slow does, when the test allows it: the header with half of the body, nearly all, and the end.
type gated struct{ steps [3]chan struct{} }

func newGated() *gated {
	g := new(gated)
	for i := range g.steps {
		g.steps[i] = make(chan struct{})
	}
	return g
}

// open allows the first n steps.
func (g *gated) open(n int) {
	for _, step := range g.steps[:n] {
		select {
		case <-step:
		default:
			close(step)
		}
	}
}

func (g *gated) serve(lines ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, line := range lines {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Add(name, value)
		}
		for step, ends := range [...]int{5, 9, 10} {
			select {
			case <-g.steps[step]:
			case <-r.Context().Done():
				return
			}
			_, _ = io.WriteString(w, whole()[[...]int{0, 5, 9}[step]<<10:ends<<10])
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// followed waits until so many requests follow the fills of others.
func followed(t testing.TB, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d requests follow", n), func() bool {
		followers, _ := respcache.FillsForTest()
		return followers == n
	})
}

// whole is the body that slow sends.
func whole() string {
	var b strings.Builder
	for i := range 10 {
		b.WriteString(strings.Repeat(fmt.Sprint(i), 1024))
	}
	return b.String()
}

// timing is one answer as a client saw it.
type timing struct {
	first time.Duration // to the first byte of the body
	total time.Duration
	body  string
	err   error
	head  http.Header
}

// fetch gets a URL on a connection of its own.
func fetch(ctx context.Context, client *http.Client, url string, lines ...string) (got timing) {
	begun := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return timing{err: err}
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return timing{err: err}
	}
	defer resp.Body.Close()
	got.head = resp.Header
	reader := bufio.NewReader(resp.Body)
	if _, err := reader.Peek(1); err != nil && err != io.EOF {
		return timing{err: err}
	}
	got.first = time.Since(begun)
	body, err := io.ReadAll(reader)
	got.total, got.body, got.err = time.Since(begun), string(body), err
	return got
}

// crowd has n clients ask for one URL at once, connected before.
func crowd(t testing.TB, n int, url string, lines ...string) []timing {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: n, DisableCompression: true}
	client := &http.Client{Transport: transport, Timeout: 60 * time.Second}
	defer transport.CloseIdleConnections()
	results := make([]timing, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { results[i] = fetch(t.Context(), client, url, lines...) })
	}
	group.Wait()
	for _, r := range results {
		if r.err != nil {
			t.Error(r.err)
		}
	}
	return results
}

func percentile(results []timing, p int, of func(timing) time.Duration) time.Duration {
	times := make([]time.Duration, len(results))
	for i, r := range results {
		times[i] = of(r)
	}
	slices.Sort(times)
	return times[min(len(times)-1, len(times)*p/100)]
}

func first(r timing) time.Duration { return r.first }

// Clients that ask for what nobody has asked for yet are answered by one request, and the first byte reaches all as soon as it comes.
func TestCollapsing(t *testing.T) {
	for _, n := range figure(t, []int{100, 1000}, []int{100}) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			o := newOrigin(t, slow("Cache-Control: max-age=60"))
			s := front(t, o)
			results := crowd(t, n, s.URL(":8080")+"/")
			if hits := o.hits.Load(); hits != 1 {
				t.Fatalf("%d requests reached the origin", hits)
			}
			leader := time.Duration(0)
			for _, r := range results {
				if r.body != whole() {
					t.Fatalf("a client got %d bytes", len(r.body))
				}
				if !strings.Contains(r.head.Get("Cache-Status"), "collapsed") {
					leader = r.first
				}
			}
			p50, p99 := percentile(results, 50, first), percentile(results, 99, first)
			keeps(t, p99 <= leader+10*time.Millisecond, "%d clients: first byte of the leader %v, of all p50 %v, p99 %v", n, leader, p50, p99)
		})
	}
}

// Who looked before an answer was stored, and asks after, is answered from the store.
func TestAnswersThatCameMeanwhile(t *testing.T) {
	d := newDirect(t, header("body", "Cache-Control: max-age=60"))
	for i, want := range []string{"fwd=uri-miss", "; hit"} {
		w := httptest.NewRecorder()
		r := gatehousetest.Request(w, http.MethodGet, "http://example.com/", "203.0.113.7:1")
		if err := respcache.FetchForTest(d.handler, w, r, d.next); err != nil {
			t.Fatal(err)
		}
		if status := w.Header().Get("Cache-Status"); w.Body.String() != "body" || !strings.Contains(status, want) {
			t.Errorf("request %d: %q, %s, want %s", i, w.Body, status, want)
		}
	}
	if n := d.asked.Load(); n != 1 {
		t.Errorf("the origin was asked %d times", n)
	}
	if followers, _ := respcache.FillsForTest(); followers != 0 {
		t.Errorf("%d requests wait for ever", followers)
	}
}

// The origin says no more before every client of a crowd has what it has said, whether that is shared or not.
func TestBytesPassAsTheyCome(t *testing.T) {
	for _, line := range []string{"Cache-Control: max-age=60", "Cache-Control: no-store", "Content-Type: text/event-stream"} {
		t.Run(line, func(t *testing.T) {
			const clients = 20
			var waiting sync.WaitGroup
			waiting.Add(clients)
			o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
				header("first", line)(w, nil)
				_ = http.NewResponseController(w).Flush()
				waiting.Wait()
				_, _ = io.WriteString(w, "second")
			})
			s := front(t, o)
			var group sync.WaitGroup
			for range clients {
				group.Go(func() {
					got := sync.OnceFunc(waiting.Done)
					defer got()
					resp, err := s.Client.Get(s.URL(":8080") + "/")
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					var first [5]byte
					if _, err = io.ReadFull(resp.Body, first[:]); err != nil {
						t.Error(err)
						return
					}
					got()
					if rest, err := io.ReadAll(resp.Body); string(first[:])+string(rest) != "firstsecond" || err != nil {
						t.Errorf("got %s%s, %v", first, rest, err)
					}
				})
			}
			group.Wait()
		})
	}
}

// A client that goes away takes nothing from those that wait for the same answer, nor from those that come later.
func TestLeaderLeaves(t *testing.T) {
	o := newOrigin(t, nil)
	s := front(t, o)
	for steps, when := range []string{"before the header", "amid the body", "before the end"} {
		g := newGated()
		o.answer(g.serve("Cache-Control: max-age=60"))
		url, before := fmt.Sprintf("%s/%d", s.URL(":8080"), steps), o.hits.Load()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		leader, others := make(chan timing, 1), make(chan []timing, 1)
		go func() { leader <- fetch(ctx, &http.Client{Transport: &http.Transport{DisableCompression: true}}, url) }()
		eventually(t, "the leader's request arrives", func() bool { return o.hits.Load() > before })
		go func() { others <- crowd(t, 49, url) }()
		followed(t, 49)
		g.open(steps)
		cancel()
		eventually(t, "the leader's end is noticed", func() bool {
			_, left := respcache.FillsForTest()
			return left == 1
		})
		g.open(len(g.steps))
		for _, r := range <-others {
			if r.body != whole() {
				t.Fatalf("after the leader left %s, a client got %d bytes", when, len(r.body))
			}
		}
		if r := <-leader; r.err == nil {
			t.Fatalf("the leader stayed for %v", r.total)
		}
		if hits := o.hits.Load() - before; hits != 1 {
			t.Errorf("%s: %d requests reached the origin", when, hits)
		}
		if resp := s.Get(fmt.Sprintf("/%d", steps)); !cached(resp) || resp.Body != whole() {
			t.Errorf("%s, afterwards: %d bytes, %s", when, len(resp.Body), resp.Header.Get("Cache-Status"))
		}
	}
}

// If nobody wants an answer any more and nothing is known of it yet, the upstream is told to stop.
func TestAbandonedRequestIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stopped := make(chan struct{})
	o := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
		close(stopped)
	})
	s := front(t, o)
	fetch(ctx, http.DefaultClient, s.URL(":8080")+"/")
	select {
	case <-stopped:
	case <-time.After(within):
		t.Fatal("the upstream works on for nobody")
	}
}

// A client that reads slowly holds up nobody.
func TestSlowLeader(t *testing.T) {
	body := strings.Repeat("x", 3<<20)
	o := newOrigin(t, header(body, "Cache-Control: max-age=60"))
	s := front(t, o)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(":8080"), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() // it never reads
	if _, err := io.WriteString(conn, "GET /big HTTP/1.1\r\nHost: "+conn.RemoteAddr().String()+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the slow client's request arrives", func() bool { return o.hits.Load() > 0 })
	for _, r := range crowd(t, 5, s.URL(":8080")+"/big") {
		if r.body != body {
			t.Fatalf("a client got %d bytes", len(r.body))
		}
	}
	if hits := o.hits.Load(); hits != 1 {
		t.Errorf("%d requests reached the origin", hits)
	}
}

// An answer of unknown length that turns out too large to be stored reaches everybody whole, and is not stored.
func TestTooLargeWhileStreaming(t *testing.T) {
	const size = 5 << 20
	o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		piece := []byte(strings.Repeat("0123456789abcdef", 1024))
		for range size / len(piece) {
			_, _ = w.Write(piece)
			_ = http.NewResponseController(w).Flush()
		}
	})
	s := front(t, o, "max_object 1MiB")
	for _, r := range crowd(t, 8, s.URL(":8080")+"/") {
		if len(r.body) != size || r.body != strings.Repeat("0123456789abcdef", size/16) {
			t.Fatalf("a client got %d bytes, or other ones", len(r.body))
		}
	}
	if resp := s.Get("/"); cached(resp) {
		t.Error("it was stored")
	}
	eventually(t, "no byte is in flight any more", func() bool {
		return strings.Contains(s.Admin(http.MethodGet, "/gatehouse/cache", "").Body, `"in_flight":0`)
	})
}

// Events reach the client one by one.
func TestEventStream(t *testing.T) {
	next := make(chan string)
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "max-age=60") // which must not matter
		for {
			select {
			case event := <-next:
				_, _ = io.WriteString(w, "data: "+event+"\n\n")
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	s := front(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL(":8080")+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() { next <- "1" }()
	resp, err := s.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for i := 1; i <= 3; i++ {
		if i > 1 {
			next <- fmt.Sprint(i)
		}
		line, err := lines.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("event %d: %q, %v", i, line, err)
		}
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
}

// Early hints reach the client before the answer does.
func TestEarlyHints(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "body")
	})
	s := front(t, o)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(":8080"), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	text, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n") ||
		!strings.Contains(string(text), "\r\n\r\nHTTP/1.1 200 OK\r\n") {
		t.Errorf("got %q, %v", text, err)
	}
}

// After an answer is complete at the client, the next request finds it: always.
func TestMissThenHit(t *testing.T) {
	pairs := figure(t, 20_000, 2_000)
	o := newOrigin(t, header("body", "Cache-Control: max-age=60"))
	s := front(t, o)
	for i := range pairs {
		path := fmt.Sprintf("/%d", i)
		s.Get(path)
		s.Get(path)
	}
	if hits := o.hits.Load(); hits != int64(pairs) {
		t.Errorf("%d pairs needed %d requests to the origin", pairs, hits)
	}
}

// An upstream that cannot be reached is the client's error, as without a cache.
func TestUpstreamIsDown(t *testing.T) {
	address := gatehousetest.FreeAddress(t)
	s := gatehousetest.Start(t, ":8080 {\nresponse_cache\nreverse_proxy "+address+"\n}")
	empty(t, s)
	resp := s.Get("/")
	if resp.StatusCode != http.StatusBadGateway || !strings.Contains(resp.Header.Get("Cache-Status"), "detail=error") {
		t.Errorf("got %s, %s", resp.Status, resp.Header.Get("Cache-Status"))
	}
}

// Trailers reach the client that asked, announced or not, and what has them is not stored.
func TestTrailers(t *testing.T) {
	for name, announced := range map[string]bool{"announced": true, "not announced": false} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				key := http.TrailerPrefix + "X-Sum"
				if announced {
					w.Header().Set("Trailer", "X-Sum")
					key = "X-Sum"
				}
				_, _ = io.WriteString(w, "body")
				_ = http.NewResponseController(w).Flush()
				w.Header().Set(key, "1")
			})
			s := front(t, o)
			for range 2 {
				resp := s.Get("/")
				if resp.Body != "body" || resp.Trailer.Get("X-Sum") != "1" || cached(resp) {
					t.Errorf("got %q, trailers %v, %s", resp.Body, resp.Trailer, resp.Header.Get("Cache-Status"))
				}
			}
		})
	}
}
