// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
)

// message is the text of an error that the admin endpoint answers.
func message(t *testing.T, resp gatehousetest.Response) string {
	t.Helper()
	var refusal struct{ Error string }
	if err := json.Unmarshal([]byte(resp.Body), &refusal); err != nil {
		t.Fatalf("%s: %v", resp.Body, err)
	}
	return refusal.Error
}

func TestAdminRefuses(t *testing.T) {
	s := gatehousetest.Start(t, config("ip_bans {\n\t\tallow 10.0.0.0/8\n\t\tmax_bans 3\n\t}", plain))
	ban(t, s, "198.51.100.0/24")
	const bans, check = "/gatehouse/bans", "/gatehouse/bans/check"
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		want               string
	}{
		"no JSON":          {"POST", bans, `prefixes`, 400, "reading the body: invalid character"},
		"unknown field":    {"POST", bans, `{"prefix":"203.0.113.7"}`, 400, `unknown field "prefix"`},
		"two values":       {"POST", bans, `{"prefixes":["203.0.113.7"]} {}`, 400, "something follows the JSON value"},
		"no body":          {"POST", bans, ``, 400, "reading the body: EOF"},
		"nothing":          {"POST", bans, `{}`, 400, "prefixes: expected at least one"},
		"malformed":        {"POST", bans, `{"prefixes":["203.0.113.7","203.0.113.300"]}`, 400, `found "203.0.113.300"`},
		"malformed for":    {"POST", bans, `{"prefixes":["203.0.113.7"],"for":"1"}`, 400, `for: expected a duration`},
		"for nothing":      {"POST", bans, `{"prefixes":["203.0.113.7"],"for":"0s"}`, 400, `for: expected a duration above zero`},
		"long reason":      {"POST", bans, `{"prefixes":["203.0.113.7"],"reason":"` + strings.Repeat("x", 257) + `"}`, 400, "at most 256 bytes, found 257"},
		"control":          {"POST", bans, `{"prefixes":["203.0.113.7"],"reason":"a\u001b[31mb"}`, 400, "without control characters"},
		"unknown source":   {"POST", bans, `{"prefixes":["203.0.113.7"],"source":"logins"}`, 400, `source: expected manual or import`},
		"allow-listed":     {"POST", bans, `{"prefixes":["10.1.0.0/16"]}`, 409, "10.1.0.0/16 is covered by 10.0.0.0/8 of the allow-list"},
		"loopback":         {"POST", bans, `{"prefixes":["127.0.0.1"]}`, 409, "127.0.0.1 is covered by 127.0.0.0/8"},
		"full":             {"POST", bans, `{"prefixes":["203.0.113.1","203.0.113.2","203.0.113.3"]}`, 507, "the list of bans is full: max_bans is 3"},
		"not banned":       {"DELETE", bans + "?prefix=203.0.113.7", ``, 404, "203.0.113.7 is not banned"},
		"covered":          {"DELETE", bans + "?prefix=198.51.100.7", ``, 404, "198.51.100.7 is not banned by itself; the ban of 198.51.100.0/24 covers it"},
		"one of two":       {"DELETE", bans + "?prefix=198.51.100.0/24&prefix=203.0.113.7", ``, 404, "203.0.113.7 is not banned"},
		"lift nothing":     {"DELETE", bans, ``, 400, "prefix: expected at least one"},
		"lift malformed":   {"DELETE", bans + "?prefix=x", ``, 400, `found "x"`},
		"limit":            {"GET", bans + "?limit=0", ``, 400, "limit: expected a whole number from 1 to 100000"},
		"after":            {"GET", bans + "?after=x", ``, 400, `after: expected an IP address or CIDR`},
		"check nothing":    {"GET", check, ``, 400, "address: expected an IP address"},
		"check a CIDR":     {"GET", check + "?address=10.0.0.0/8", ``, 400, `found "10.0.0.0/8"`},
		"method":           {"PUT", bans, ``, 405, "method PUT is not allowed here; allowed: DELETE, GET, POST"},
		"method for check": {"POST", check, ``, 405, "allowed: GET"},
	} {
		t.Run(name, func(t *testing.T) {
			resp := admin(t, s, c.method, c.path, c.body)
			if got := message(t, resp); resp.StatusCode != c.status || !strings.Contains(got, c.want) {
				t.Errorf("got %s %s, want %d with %q", resp.Status, got, c.status, c.want)
			}
		})
	}
	if resp := admin(t, s, http.MethodGet, bans, ""); strings.Count(resp.Body, "prefix") != 1 {
		t.Errorf("what was refused was done: %s", resp.Body)
	}
}

// The admin endpoint answers while the first config is being started: "no list" would be a mistake then.
func TestAdminBeforeAConfig(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/gatehouse/bans", nil)
	var refused caddy.APIError
	err := ipban.Admin{}.Routes()[0].Handler.ServeHTTP(w, r)
	if !errors.As(err, &refused) || refused.HTTPStatus != http.StatusServiceUnavailable {
		t.Errorf("got %v", err)
	}
}

func TestAdminList(t *testing.T) {
	s := gatehousetest.Start(t, config("", plain))
	if resp := admin(t, s, http.MethodGet, "/gatehouse/bans", ""); resp.Body != "{\"bans\":[]}\n" {
		t.Errorf("an empty list: %s", resp.Body)
	}
	ban(t, s, "2001:db8::1/32", "203.0.113.7", "203.0.113.9/24", "::ffff:192.0.2.1")
	want := []string{"192.0.2.1/32", "203.0.113.0/24", "203.0.113.7/32", "2001:db8::/32"}
	for limit := 1; limit <= 5; limit++ {
		var got []string
		for after := ""; ; {
			var page struct {
				Bans []ipban.Ban
				Next string
			}
			resp := admin(t, s, http.MethodGet, fmt.Sprintf("/gatehouse/bans?limit=%d&after=%s", limit, after), "")
			if err := json.Unmarshal([]byte(resp.Body), &page); err != nil {
				t.Fatal(err)
			}
			for _, b := range page.Bans {
				got = append(got, b.Prefix.String())
				if b.Reason != "abuse" || b.Source != "manual" || b.Expires.Sub(b.Created) != time.Hour {
					t.Errorf("got %+v", b)
				}
			}
			if after = page.Next; after == "" {
				break
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("pages of %d: got %v, want %v", limit, got, want)
		}
	}
}

func TestAdminCheck(t *testing.T) {
	s := gatehousetest.Start(t, config("ip_bans {\n\t\tallow 203.0.113.8\n\t}", plain))
	ban(t, s, "203.0.113.0/24")
	if resp := admin(t, s, http.MethodPost, "/gatehouse/bans", `{"prefixes":["198.51.100.1"]}`); resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Body)
	}
	for address, want := range map[string]string{
		"203.0.113.7":        `{"address":"203.0.113.7","banned":true,"ban":{"prefix":"203.0.113.0/24","reason":"abuse"`,
		"::ffff:203.0.113.7": `{"address":"203.0.113.7","banned":true,`,
		"203.0.113.8":        `{"address":"203.0.113.8","banned":false,"allowed_by":"203.0.113.8/32","ban":{"prefix":"203.0.113.0/24"`,
		"198.51.100.1":       `{"address":"198.51.100.1","banned":true,"ban":{"prefix":"198.51.100.1/32","source":"manual"`,
		"192.0.2.1":          `{"address":"192.0.2.1","banned":false}`,
		"127.0.0.1":          `{"address":"127.0.0.1","banned":false,"allowed_by":"127.0.0.0/8"}`,
	} {
		resp := admin(t, s, http.MethodGet, "/gatehouse/bans/check?address="+address, "")
		if !strings.HasPrefix(resp.Body, want) {
			t.Errorf("%s: got %s, want %s", address, resp.Body, want)
		}
		if timed := strings.Contains(resp.Body, `"remaining":"59m`) || strings.Contains(resp.Body, `"remaining":"1h0m0s"`); timed != strings.Contains(want, "/24") && !strings.Contains(address, "::") {
			t.Errorf("%s: got %s", address, resp.Body)
		}
	}
}
