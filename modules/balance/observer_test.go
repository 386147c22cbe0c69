// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// dialInfo is the key under which Caddy hands its transports the upstream.
const dialInfo caddy.CtxKey = "reverse_proxy.dial_info"

// transportFunc is a transport made of a function.
type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answerWith returns a transport that answers with a status and a body after 30 ms.
func answerWith(status int, body io.ReadCloser) transportFunc {
	return func(*http.Request) (*http.Response, error) {
		time.Sleep(30 * time.Millisecond)
		return &http.Response{StatusCode: status, Body: body}, nil
	}
}

// fakeBody is a body that ends with an error.
type fakeBody struct {
	io.Reader
	end    error
	closed bool
}

func newBody(text string, end error) *fakeBody {
	return &fakeBody{Reader: strings.NewReader(text), end: end}
}

func (b *fakeBody) Close() error { b.closed = true; return nil }

func (b *fakeBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = b.end
	}
	return n, err
}

// probe is an observer before a transport, with a registry and estimates of its own.
type probe struct {
	*observer
	upstream *upstream
	request  *http.Request
}

func newProbe(next http.RoundTripper, lb *reverseproxy.LoadBalancing) *probe {
	u := &reverseproxy.Upstream{Dial: "a:1"}
	r := newRegistry()
	p := &probe{
		observer: newObserver(&reverseproxy.Handler{
			Upstreams: reverseproxy.UpstreamPool{u}, Transport: next, LoadBalancing: lb,
		}, r),
		upstream: r.get("a:1"),
	}
	p.estimation = &estimation{book: &book{registry: r, epoch: time.Now()}, failureStatus: []int{5, 9}}
	p.request = gatehousetest.Request(httptest.NewRecorder(), http.MethodGet, "http://site/", "203.0.113.7:1234")
	ctx := context.WithValue(p.request.Context(), dialInfo, reverseproxy.DialInfo{Upstream: u})
	p.request = p.request.WithContext(ctx)
	return p
}

// check compares what is left behind.
func (p *probe) check(t *testing.T, inFlight int64, want estimator.Counts) {
	t.Helper()
	if got := p.upstream.load(); got != inFlight {
		t.Errorf("%d in flight, want %d", got, inFlight)
	}
	s := p.snapshot()
	if s.Counts != want || s.Open != inFlight {
		t.Errorf("the estimate has %+v and %d open, want %+v and %d", s.Counts, s.Open, want, inFlight)
	}
}

func (p *probe) snapshot() estimator.Snapshot {
	return p.upstream.estimate(p.estimation.book).Snapshot(p.estimation.book.now())
}

// What an attempt may have added to the estimate. A body that breaks off fails an attempt that was answered.
var (
	nothing  = estimator.Counts{}
	answered = estimator.Counts{Answered: 1}
	failed   = estimator.Counts{Failed: 1}
	broken   = estimator.Counts{Answered: 1, Failed: 1}
	canceled = estimator.Counts{Canceled: 1}
)

func TestAttempts(t *testing.T) {
	refused := transportFunc(func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") })
	tests := map[string]struct {
		next  http.RoundTripper
		want  estimator.Counts
		class int
	}{
		"answer":        {answerWith(200, newBody("hello", io.EOF)), answered, 2},
		"server error":  {answerWith(503, newBody("", io.EOF)), failed, 5},
		"both":          {answerWith(503, newBody("", io.ErrUnexpectedEOF)), failed, 5},
		"broken body":   {answerWith(200, newBody("he", io.ErrUnexpectedEOF)), broken, 2},
		"no body":       {answerWith(204, http.NoBody), answered, 2},
		"missing body":  {answerWith(304, nil), answered, 3},
		"refused":       {refused, failed, classError},
		"strange class": {answerWith(999, newBody("", io.EOF)), failed, 5},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProbe(c.next, nil)
				res, err := p.RoundTrip(p.request)
				if err == nil && res.Body != nil && res.Body != http.NoBody {
					if p.upstream.load() != 1 {
						t.Error("not in flight before the body is closed")
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					_ = res.Body.Close()
				}
				p.check(t, 0, c.want)
				if c.want.Answered == 1 && p.snapshot().Typical != .03 {
					t.Errorf("the latency is %v s, want 0.03", p.snapshot().Typical)
				}
				if p.upstream.tally.byClass[c.class].Load() != 1 {
					t.Errorf("not counted as %s", className(c.class))
				}
				var sum totals
				sum.add(&p.upstream.tally, 0)
				if (c.want.Failed > 0) != (sum.failures() == 1) || sum.requests() != 1 {
					t.Errorf("%d requests, %d failures", sum.requests(), sum.failures())
				}
			})
		})
	}
}

func TestBytesAreCounted(t *testing.T) {
	p := newProbe(answerWith(200, newBody(strings.Repeat("x", 70_000), io.EOF)), nil)
	res, err := p.RoundTrip(p.request)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, res.Body); n != 70_000 || err != nil || p.upstream.received.Load() != 70_000 {
		t.Fatalf("read %d bytes (%v), counted %d", n, err, p.upstream.received.Load())
	}
}

// A cancelled request is nobody's failure, whether the client left before or after the headers.
func TestCancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waiting := transportFunc(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		p := newProbe(waiting, &reverseproxy.LoadBalancing{Retries: 1})
		ctx, cancel := context.WithTimeoutCause(p.request.Context(), time.Hour, nil)
		time.AfterFunc(time.Second, cancel)
		if _, err := p.RoundTrip(p.request.WithContext(ctx)); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		p.check(t, 0, canceled)
		if p.retries.failed(p.request) != nil {
			t.Error("a cancelled attempt is remembered as failed")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := newProbe(answerWith(200, newBody("x", context.Canceled)), nil)
		ctx, cancel := context.WithCancel(p.request.Context())
		res, err := p.RoundTrip(p.request.WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		gatehousetest.Advance(watchAfter) // nobody closes the body: the end of the request must be enough
		p.check(t, 0, answered)
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if p.check(t, 0, answered); p.upstream.tally.broken.Load() != 0 {
			t.Error("the end counted twice")
		}
	})
}

// A body that nobody closes, after a panic between response and body, is over with its request soon, though no further
// request comes and nobody asks: bounded loads would keep requests from its upstream for ever.
func TestAbandonedBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbe(answerWith(200, newBody("x", io.EOF)), nil)
		send := func() (context.CancelFunc, *http.Response) {
			ctx, cancel := context.WithCancel(p.request.Context())
			res, err := p.RoundTrip(p.request.WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			return cancel, res
		}
		inFlight := func(want int64) {
			t.Helper()
			if got := p.upstream.load(); got != want {
				t.Errorf("%d in flight, want %d", got, want)
			}
		}
		endEarly, _ := send()
		endLate, _ := send()
		time.Sleep(watchAfter / 2)
		endEarly()
		end, res := send()
		defer end()
		inFlight(3)
		gatehousetest.Advance(watchAfter / 2)
		inFlight(2) // the late and the last one
		gatehousetest.Advance(watchAfter)
		endLate()
		synctest.Wait()
		inFlight(1)
		for range 2 {
			_ = res.Body.Close()
		}
		inFlight(0)
		gatehousetest.Advance(2 * watchAfter)
		if open := &p.upstream.open; open.first != nil || open.last != nil || open.timed {
			t.Errorf("left: %v, %v, the timer runs: %t", open.first, open.last, open.timed)
		}
		endAgain, _ := send() // and all begins anew
		endAgain()
		gatehousetest.Advance(2 * watchAfter)
		inFlight(0)
	})
}

// Bodies are closed, and closed twice, while others are opened, watched and abandoned.
func TestOpenBodiesInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbe(transportFunc(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: newBody("x", io.EOF)}, nil
		}), nil)
		var clients sync.WaitGroup
		for i := range 64 {
			clients.Go(func() {
				for range 50 {
					ctx, cancel := context.WithCancel(p.request.Context())
					res, err := p.RoundTrip(p.request.WithContext(ctx))
					if err != nil {
						t.Error(err)
					}
					time.Sleep(time.Duration(rand.Int64N(int64(2 * watchAfter))))
					for range i % 3 {
						_ = res.Body.Close()
					}
					cancel()
				}
			})
		}
		clients.Wait()
		gatehousetest.Advance(2 * watchAfter)
		if open := &p.upstream.open; p.upstream.load() != 0 || open.first != nil || open.last != nil || open.timed {
			t.Errorf("%d in flight; left: %v, %v, the timer runs: %t", p.upstream.load(), open.first, open.last, open.timed)
		}
	})
}

// readError is a request's body of which a read waits for the body's end, and then fails.
type readError struct {
	err    error
	closed chan struct{}
}

func (b readError) Read([]byte) (int, error) { <-b.closed; return 0, b.err }
func (b readError) Close() error             { close(b.closed); return nil }

// A failure to read the request's body is the client's, unless the transport gave it up.
func TestUploads(t *testing.T) {
	closed := make(chan struct{})
	close(closed)
	for name, c := range map[string]struct {
		body readError
		want estimator.Counts
	}{
		"the client breaks off":         {readError{io.ErrUnexpectedEOF, closed}, canceled},
		"an earlier attempt used it up": {readError{http.ErrBodyReadAfterClose, closed}, canceled},
		"HTTP/1: upstream breaks off":   {readError{http.ErrBodyReadAfterClose, make(chan struct{})}, failed},
		"HTTP/2: upstream breaks off":   {readError{errors.New("http2: body closed by handler"), make(chan struct{})}, failed},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProbe(transportFunc(func(r *http.Request) (*http.Response, error) {
				read := make(chan struct{})
				go func() {
					_, _ = r.Body.Read(make([]byte, 1))
					close(read)
				}()
				if c.body.closed != closed {
					_ = r.Body.Close()
				}
				<-read
				return nil, errors.New("broken pipe")
			}), nil)
			p.request.Body = c.body
			if _, err := p.RoundTrip(p.request); err == nil {
				t.Fatal("no error")
			}
			p.check(t, 0, c.want)
		})
	}
}

// A header that cannot be sent, because the config makes it of what the client sent, fails at every upstream.
func TestUnsendable(t *testing.T) {
	refused := transportFunc(func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") })
	for field, want := range map[[2]string]estimator.Counts{
		{"X-Tenant", "blue\n"}:        canceled,
		{"X-Tenant", "\x7f"}:          canceled,
		{"X Tenant", "blue"}:          canceled,
		{"", "blue"}:                  canceled,
		{"X-Tenant", "blue\tgr\xfcn"}: failed,
	} {
		p := newProbe(refused, nil)
		p.request.Header[field[0]] = []string{field[1]}
		if _, err := p.RoundTrip(p.request); err == nil {
			t.Fatal("no error")
		}
		t.Run(fmt.Sprintf("%q", field), func(t *testing.T) { p.check(t, 0, want) })
	}
}

// A deadline of the proxy's own is the upstream's failure.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbe(transportFunc(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}), nil)
		ctx, cancel := context.WithTimeout(p.request.Context(), time.Second)
		defer cancel()
		if _, err := p.RoundTrip(p.request.WithContext(ctx)); err == nil {
			t.Fatal("no error")
		}
		p.check(t, 0, failed)
	})
}

func TestPanicInTheTransport(t *testing.T) {
	p := newProbe(transportFunc(func(*http.Request) (*http.Response, error) { panic("transport") }), nil)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_, _ = p.RoundTrip(p.request)
	}()
	if p.upstream.load() != 0 {
		t.Error("still in flight")
	}
}

// Requests that Caddy makes by itself, for active health checks, must leave no trace.
func TestHealthChecksDoNotCount(t *testing.T) {
	p := newProbe(answerWith(200, newBody("ok", io.EOF)), nil)
	info, _ := reverseproxy.GetDialInfo(p.request.Context())
	r := httptest.NewRequest(http.MethodGet, "http://a:1/health", nil)
	ctx := context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	ctx = context.WithValue(ctx, dialInfo, info)
	ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, *r)
	res, err := p.RoundTrip(r.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	if _, same := res.Body.(*fakeBody); !same {
		t.Error("the body was wrapped")
	}
	var sum totals
	sum.add(&p.upstream.tally, 0)
	if p.check(t, 0, nothing); sum.requests() != 0 {
		t.Errorf("%d requests counted", sum.requests())
	}
}

// tunnelBody is the body of a 101, with and without a write half that can be closed.
type (
	tunnelBody     struct{ bytes.Buffer }
	halfTunnelBody struct {
		tunnelBody
		halfClosed bool
	}
)

func (*tunnelBody) Close() error            { return nil }
func (h *halfTunnelBody) CloseWrite() error { h.halfClosed = true; return nil }

func TestSwitchedProtocols(t *testing.T) {
	half := new(halfTunnelBody)
	for _, body := range []io.ReadWriteCloser{new(tunnelBody), half} {
		p := newProbe(answerWith(101, body), nil)
		res, err := p.RoundTrip(p.request)
		if err != nil {
			t.Fatal(err)
		}
		tunnel, ok := res.Body.(io.ReadWriteCloser)
		if !ok {
			t.Fatalf("%T cannot be written to", res.Body)
		}
		if _, err := io.WriteString(tunnel, "ping"); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(tunnel); string(got) != "ping" || err != nil {
			t.Fatalf("read %q, %v", got, err)
		}
		closer, canClose := tunnel.(interface{ CloseWrite() error })
		if _, want := body.(interface{ CloseWrite() error }); canClose != want {
			t.Fatalf("closing the write half: %v, want %v", canClose, want)
		}
		if canClose && (closer.CloseWrite() != nil || !half.halfClosed) {
			t.Error("the write half was not closed")
		}
		if p.upstream.load() != 1 {
			t.Error("not in flight")
		}
		if tunnel.Close(); p.upstream.load() != 0 {
			t.Error("still in flight")
		}
	}
}

func TestRetriesAreRemembered(t *testing.T) {
	refused := transportFunc(func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") })
	match := caddyhttp.RawMatcherSets{{}}
	tests := map[string]struct {
		next http.RoundTripper
		lb   *reverseproxy.LoadBalancing
		want bool
	}{
		"failed":                    {refused, &reverseproxy.LoadBalancing{Retries: 1}, true},
		"failed, by duration":       {refused, &reverseproxy.LoadBalancing{TryDuration: 1}, true},
		"failed, without retries":   {refused, &reverseproxy.LoadBalancing{}, false},
		"failed, without balancing": {refused, nil, false},
		"answered":                  {answerWith(500, http.NoBody), &reverseproxy.LoadBalancing{Retries: 1}, false},
		"answered, retry_match":     {answerWith(200, http.NoBody), &reverseproxy.LoadBalancing{Retries: 1, RetryMatchRaw: match}, true},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProbe(c.next, c.lb)
				ctx, cancel := context.WithCancel(p.request.Context())
				r := p.request.WithContext(ctx)
				if p.retries.failed(r) != nil {
					t.Fatal("failed before the first attempt")
				}
				_, _ = p.RoundTrip(r)
				if got := p.retries.failed(r).has(p.upstream); got != c.want {
					t.Errorf("remembered: %v, want %v", got, c.want)
				}
				other := gatehousetest.Request(httptest.NewRecorder(), http.MethodGet, "http://site/", "203.0.113.7:1234")
				if p.retries.failed(other) != nil {
					t.Error("another request is taken for the failed one")
				}
				cancel()
				if synctest.Wait(); p.retries.pending.Load() != 0 {
					t.Error("the request has ended and still costs the others a look-up")
				}
			})
		})
	}
}
