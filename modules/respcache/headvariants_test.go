// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// A HEAD that shows that a stale answer is no more what a GET would get takes that one away, and no other variant of the URL.
func TestHeadTakesNoOtherVariant(t *testing.T) {
	d := newDirect(t, func(w http.ResponseWriter, r *http.Request) {
		language := r.Header.Get("Accept-Language")
		if language == "de" { // stale from the beginning
			w.Header().Set("Age", "100")
		}
		header(language, "Cache-Control: max-age=60", "Vary: Accept-Language", `Etag: "`+language+r.Method+`"`)(w, r)
	})
	d.get("http://example.com/", "Accept-Language", "de")
	d.get("http://example.com/", "Accept-Language", "en")
	w := httptest.NewRecorder()
	r := gatehousetest.Request(w, http.MethodHead, "http://example.com/", "203.0.113.7:1")
	r.Header.Set("Accept-Language", "de")
	if err := d.handler.ServeHTTP(w, r, d.next); err != nil {
		t.Fatal(err)
	}
	for language, want := range map[string]string{"en": "; hit", "de": "; fwd=vary-miss"} {
		if status := d.get("http://example.com/", "Accept-Language", language).Header().Get("Cache-Status"); !strings.Contains(status, want) {
			t.Errorf("%s: %s, want %s", language, status, want)
		}
	}
}
