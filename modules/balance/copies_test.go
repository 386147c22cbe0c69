// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// A copy that is not answered ends with its config, and else at its deadline. None begins after the end.
func TestCopiesEnd(t *testing.T) {
	hangs := transportFunc(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	for _, c := range []struct{ config, want time.Duration }{{time.Second, time.Second}, {time.Hour, copyDeadline}} {
		synctest.Test(t, func(t *testing.T) {
			p := newProbe(hangs, nil)
			ctx, cancel := context.WithTimeout(t.Context(), c.config)
			defer cancel()
			copier := &copier{ctx: ctx, handler: new(reverseproxy.Handler), observer: p.observer}
			send := func() { copier.send(p.request, &reverseproxy.Upstream{Dial: "a:1"}, p.upstream) }
			began := time.Now()
			send()
			if synctest.Wait(); p.upstream.load() != 1 {
				t.Fatalf("%d copies are under way, want 1", p.upstream.load())
			}
			copier.stop()
			if took := time.Since(began); took != c.want {
				t.Errorf("the copy took %v, want %v", took, c.want)
			}
			if send(); p.upstream.load() != 0 {
				t.Error("a copy began after the end")
			}
		})
	}
}
