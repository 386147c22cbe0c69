// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestOrders(t *testing.T) {
	app := NewApp(Options{MaxOrders: 3})
	a, err := app.Listener("a", Settings{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := app.Listener("b", Settings{})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		method, target, header string
		want                   string
	}{
		{"POST", "/orders?key=x", "", `201 {"key":"x","effects":1}`},
		{"POST", "/orders", "x", `201 {"key":"x","effects":2}`},
		{"PATCH", "/orders?key=ignored", "y", `201 {"key":"y","effects":1}`},
		{"POST", "/orders", "", `201 {"key":"","effects":1}`},
		{"POST", "/orders", "z", `507 the effect counter is full`},
		{"POST", "/orders", "y", `201 {"key":"y","effects":2}`},
		{"POST", "/orders", strings.Repeat("k", 256), `400 the key is longer than 255 bytes`},
		{"GET", "/orders", "", `200 {"total":5,"keys":3,"duplicates":2,"orders":{"":1,"x":2,"y":2}}`},
		{"GET", "/orders?key=x", "", `200 {"key":"x","effects":2}`},
		{"GET", "/orders?key=z", "", `200 {"key":"z","effects":0}`},
		{"DELETE", "/orders", "", `204 `},
		{"GET", "/orders", "", `200 {"total":0,"keys":0,"duplicates":0,"orders":{}}`},
		{"POST", "/orders", "z", `201 {"key":"z","effects":1}`},
	} {
		w := do(t, a, step.method, step.target, "", "Idempotency-Key", step.header)
		if got := strconv.Itoa(w.Code) + " " + strings.TrimSpace(w.Body.String()); got != step.want {
			t.Errorf("%s %s %q:\ngot  %s\nwant %s", step.method, step.target, step.header, got, step.want)
		}
		a, b = b, a // the counter is one for all listeners
	}
}

func TestOrdersAtOnce(t *testing.T) {
	l := newListener(t, Options{}, Settings{})
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			if w := do(t, l, "POST", "/orders?key="+strconv.Itoa(i%10), ""); w.Code != http.StatusCreated {
				t.Errorf("status %d", w.Code)
			}
		})
	}
	all.Wait()
	r := l.App().orders.report()
	if r.Total != 200 || r.Keys != 10 || r.Duplicates != 10 || r.Orders["3"] != 20 {
		t.Errorf("%+v", r)
	}
}
