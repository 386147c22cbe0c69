// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
)

// sameAnswer is a transport that costs nothing: what is measured around it is ours.
type sameAnswer struct {
	response http.Response
	text     strings.Reader
}

func (s *sameAnswer) RoundTrip(*http.Request) (*http.Response, error) {
	s.text.Reset("hello")
	s.response.Body = readOnly{&s.text}
	return &s.response, nil
}

type readOnly struct{ io.Reader }

func (readOnly) Close() error { return nil }

// BenchmarkRequest is all that a policy adds to a request: the choice, the attempt and its end.
func BenchmarkRequest(b *testing.B) {
	for _, n := range []int{5, 10} {
		b.Run(fmt.Sprint("least_response_time/", n), func(b *testing.B) {
			e, pool := newEstimates(n, estimator.LeastResponseTime)
			r := newGet()
			benchmarkRequest(b, e.proxy.observer, pool, func() *reverseproxy.Upstream { return e.choose(pool, r) })
		})
		b.Run(fmt.Sprint("guard/", n), func(b *testing.B) {
			p, pool, r := guardOf(b, `{"policy":"least_conn"}`, n)
			w := httptest.NewRecorder()
			benchmarkRequest(b, p.estimates.proxy.observer, pool, func() *reverseproxy.Upstream { return p.Select(pool, r, w) })
		})
	}
}

func benchmarkRequest(b *testing.B, o *observer, pool reverseproxy.UpstreamPool, choose func() *reverseproxy.Upstream) {
	o.next = &sameAnswer{response: http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/plain"}}}}
	requests := map[*reverseproxy.Upstream]*http.Request{}
	for _, u := range pool {
		r := newGet()
		requests[u] = r.WithContext(context.WithValue(r.Context(), dialInfo, reverseproxy.DialInfo{Upstream: u}))
	}
	buffer := make([]byte, 512)
	b.ReportAllocs()
	for b.Loop() {
		res, err := o.RoundTrip(requests[choose()])
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = res.Body.Read(buffer)
		}
		if err := res.Body.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
