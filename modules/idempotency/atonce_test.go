// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/idempotency"
	memorystore "github.com/gatehouse-proxy/gatehouse/plugins/memory"
)

// lateStore is memory that takes an answer when it is let to.
type lateStore struct{ memorystore.IdempotencyStore }

// Of the test that uses lateStore.
var (
	storing atomic.Int64  // answers that it was given
	letIt   chan struct{} // closed to let it store them
)

func init() { caddy.RegisterModule(lateStore{}) }

// CaddyModule returns the Caddy module information.
func (lateStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: idempotency.Namespace + ".test_late", New: func() caddy.Module { return new(lateStore) }}
}

// Advance implements idempotency.Store.
func (s *lateStore) Advance(ctx context.Context, step idempotency.Step) error {
	if step.Act == idempotency.Finish {
		storing.Add(1)
		<-letIt
		return s.IdempotencyStore.Advance(context.WithoutCancel(ctx), step)
	}
	return s.IdempotencyStore.Advance(ctx, step)
}

// A client has its answer while that is stored, and whoever asks meanwhile waits; precise, and who does not let others wait,
// stores first.
func TestAnswersAreGivenWhileTheyAreStored(t *testing.T) {
	for options, early := range map[string]bool{"": true, "precise": false, "wait 0s": false} {
		t.Run(options, func(t *testing.T) {
			storing.Store(0)
			letIt = make(chan struct{})
			s, app := start(t, options+"\nstore test_late")
			s.Client.Transport.(*http.Transport).DisableKeepAlives = true // a connection takes the next request when this one is over
			let := sync.OnceFunc(func() { close(letIt) })
			t.Cleanup(let)
			answers := make(chan gatehousetest.Response, 2)
			send := func() {
				resp, err := s.Try("POST", s.URL(":8080")+"/orders", "soap", "Idempotency-Key: k")
				if err != nil {
					t.Error(err)
				}
				answers <- resp
			}
			go send()
			gatehousetest.Eventually(t, "the answer to be stored", func() bool { return storing.Load() == 1 })
			if early {
				first := <-answers
				if first.StatusCode != http.StatusCreated || first.Body != "order 1: soap" {
					t.Fatalf("got %d %q", first.StatusCode, first.Body)
				}
				go send()
				gatehousetest.Eventually(t, "the next to wait", func() bool { return metric(t, s, `gatehouse_idempotency_waiting{store="test_late"}`) == 1 })
				let()
				expectReplay(t, first, <-answers)
			} else {
				select {
				case <-answers:
					t.Error("the answer is given before it is stored")
				case <-time.After(100 * time.Millisecond):
				}
				let()
				if got := <-answers; got.StatusCode != http.StatusCreated {
					t.Errorf("got %d %q", got.StatusCode, got.Body)
				}
			}
			if n := app.effects.Load(); n != 1 {
				t.Errorf("%d effects", n)
			}
		})
	}
}

// A client that does not read keeps nobody from its answer.
func TestClientThatDoesNotRead(t *testing.T) {
	const size = 24 << 20 // more than any buffer on the way takes
	body := bytes.Repeat([]byte("soap"), size/4)
	var effects atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		effects.Add(1)
		_, _ = w.Write(body)
	}))
	t.Cleanup(upstream.Close)
	s := gatehousetest.Start(t, fmt.Sprintf(":8080 {\n\tidempotency_key {\n\t\tmax_response 32MiB\n\t}\n\treverse_proxy %s\n}",
		strings.TrimPrefix(upstream.URL, "http://")))
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(":8080"), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: "+strings.TrimPrefix(s.URL(":8080"), "http://")+"\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n\r\n")
	defer conn.Close()
	gatehousetest.Eventually(t, "the request arrives", func() bool { return effects.Load() == 1 })
	resp := post(s, "/", "k", "")
	if resp.StatusCode != http.StatusOK || len(resp.Body) != size || resp.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("another client got %d and %d bytes, %v", resp.StatusCode, len(resp.Body), resp.Header)
	}
}
