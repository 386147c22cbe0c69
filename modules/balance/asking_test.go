// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
)

// One request at a time goes to an upstream that does not answer, each ends with its config, or else at its deadline, and
// none begins after the end.
func TestQuestionsEnd(t *testing.T) {
	hangs := transportFunc(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	for _, c := range []struct{ config, want time.Duration }{{time.Second, time.Second}, {time.Hour, 2 * askDeadline}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), c.config)
			defer cancel()
			made, err := new(Health).parse(nil)
			if err != nil {
				t.Fatal(err)
			}
			a := &asker{
				ctx: ctx, check: made, via: hangs, hangUp: func() {}, asked: map[*upstream]bool{},
				now: func() int64 { return 0 },
			}
			u, estimate := newRegistry().get("127.0.0.1:1"), estimator.New(estimator.Params{})
			ask := func() { a.ask(u, estimate, "127.0.0.1:2") }
			began := time.Now()
			ask()
			ask()
			if got := u.asked.Load(); got != 1 {
				t.Errorf("%d requests are under way, want 1", got)
			}
			a.running.Wait()
			if took := time.Since(began); took != c.want {
				t.Errorf("it took %v, want %v", took, c.want)
			}
			ask()
			if got := u.asked.Load(); got != 2 {
				t.Errorf("%d requests after the first has ended, want 2", got)
			}
			cancel()
			if err := a.stop(); err != nil {
				t.Error(err)
			}
			if ask(); u.asked.Load() != 2 {
				t.Error("a request began after the end")
			}
		})
	}
}
