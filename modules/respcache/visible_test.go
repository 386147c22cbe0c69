// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// metric is the value of a series, 0 if there is none.
func metric(t *testing.T, s *gatehousetest.Server, series string) (value float64) {
	t.Helper()
	for line := range strings.Lines(s.Admin(http.MethodGet, "/metrics", "").Body) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				t.Fatal(err)
			}
		}
	}
	return value
}

func TestMetrics(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/private" {
			w.Header().Set("Cache-Control", "private")
			return
		}
		w.Header().Set("ETag", `"a"`)
		w.Header().Set("Cache-Control", "max-age=60")
		if r.URL.Path == "/stale" {
			w.Header().Set("Cache-Control", "max-age=0")
		}
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
		}
	})
	s := front(t, o, "name shop", "bypass {http.request.header.X-Bypass}")
	const requests = `gatehouse_response_cache_requests_total{outcome=%q,site="shop"}`
	before := map[string]float64{}
	outcomes := []string{"hit", "miss", "pass", "bypass", "unsafe", "validated"}
	for _, outcome := range outcomes {
		before[outcome] = metric(t, s, fmt.Sprintf(requests, outcome))
	}
	for range 2 {
		s.Get("/")
		s.Get("/stale")
		s.Get("/private")
	}
	s.Get("/", "X-Bypass: 1")
	s.Do(http.MethodPost, s.URL(":8080")+"/x", "")
	for outcome, want := range map[string]float64{"hit": 1, "miss": 2, "pass": 2, "bypass": 1, "unsafe": 1, "validated": 1} {
		if got := metric(t, s, fmt.Sprintf(requests, outcome)) - before[outcome]; got != want {
			t.Errorf("%s: %g, want %g", outcome, got, want)
		}
	}
	for series, want := range map[string]float64{
		"gatehouse_response_cache_items": 2, "gatehouse_response_cache_budget_bytes": 256 << 20, "gatehouse_response_cache_in_flight_bytes": 0,
		"gatehouse_response_cache_passes": 1, "gatehouse_response_cache_fills": 0,
	} {
		if got := metric(t, s, series); got != want {
			t.Errorf("%s is %g, want %g", series, got, want)
		}
	}
	if metric(t, s, "gatehouse_response_cache_held_bytes") <= 0 {
		t.Error("nothing is held")
	}
}

// logged runs a config with a log file and returns the log.
func logged(t *testing.T, site string, ask func(s *gatehousetest.Server)) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "log")
	s := gatehousetest.Start(t, "{\nlog {\noutput file "+file+"\n}\n}\n:8080 {\n"+site+"\n}")
	ask(s)
	if err := s.Reload(":8080"); err != nil { // the old server's access log is written when it has drained
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAccessLog(t *testing.T) {
	text := logged(t, "log\nheader Cache-Control max-age=60\nresponse_cache\nrespond ok", func(s *gatehousetest.Server) {
		empty(t, s)
		s.Get("/")
		s.Get("/")
	})
	for _, outcome := range []string{"hit", "miss"} {
		if n := strings.Count(text, `"response_cache":{"outcome":"`+outcome+`"}`); n > 1 || n == 0 && outcome == "hit" {
			t.Errorf("the access log has the outcome %s %d times", outcome, n)
		}
	}
}

// Authentication behind the cache is bypassed by hits: loading says so.
func TestAuthenticationBehindTheCache(t *testing.T) {
	const auth = "basic_auth {\nbob $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}\n"
	for name, c := range map[string]struct {
		site string
		warn bool
	}{
		"in a handle block": {"response_cache\nhandle /admin/* {\n" + auth + "respond ok\n}", true},
		"in the site":       {"response_cache\n" + auth + "respond ok", false},
		"both in a block":   {"handle /admin/* {\nresponse_cache\n" + auth + "respond ok\n}\nhandle {\n" + auth + "respond ok\n}", false},
	} {
		t.Run(name, func(t *testing.T) {
			text := logged(t, c.site, func(*gatehousetest.Server) {})
			if got := strings.Contains(text, "authentication stands behind response_cache"); got != c.warn {
				t.Errorf("warned: %v", got)
			}
		})
	}
}
