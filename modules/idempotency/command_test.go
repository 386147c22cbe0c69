// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency_test

import (
	"encoding/json"
	"strings"
	"testing"
)

func must(t *testing.T, out string, err error, want ...string) {
	t.Helper()
	for _, part := range want {
		if err != nil || !strings.Contains(out, part) {
			t.Fatalf("printed %q (%v), want %q in it", out, err, part)
		}
	}
}

// An operator lists what is unknown, and settles it: released, it is carried out again; completed, retries get the answer.
func TestCommands(t *testing.T) {
	for name, options := range map[string]string{"memory": "", "encrypted": "secret 0123456789abcdef\nencrypt"} {
		t.Run(name, func(t *testing.T) {
			s, app := start(t, options)
			operation := expect(t, post(s, "/reset", "k", "soap"), 502, "outcome-unknown").Operation
			post(s, "/orders", "l", "tea")
			out, err := s.Command("idempotency", "list")
			must(t, out, err, "OPERATION", operation+"  unknown  connection_failed", "POST")
			if strings.Count(out, "\n") != 2 {
				t.Errorf("listed %q", out)
			}
			out, err = s.Command("idempotency", "list", "--state", "any", "--json")
			var all []struct{ Operation, State string }
			if must(t, out, err, operation); json.Unmarshal([]byte(out), &all) != nil || len(all) != 2 {
				t.Errorf("listed %q", out)
			}
			out, err = s.Command("idempotency", "show", operation)
			must(t, out, err, "state       unknown", "attempts    1", "store       memory")
			out, err = s.Command("idempotency", "resolve", operation, "--release")
			must(t, out, err, "resolved "+operation+": release\n")
			expect(t, post(s, "/reset", "k", "soap"), 502, "outcome-unknown")
			out, err = s.Command("idempotency", "resolve", operation, "--status", "201", "--content-type", "text/plain", "--body", "found")
			must(t, out, err, ": complete\n")
			resp := post(s, "/reset", "k", "soap")
			if resp.StatusCode != 201 || resp.Body != "found" || resp.Header.Get("Content-Type") != "text/plain" || app.effects.Load() != 3 {
				t.Fatalf("%d %q, %d effects", resp.StatusCode, resp.Body, app.effects.Load())
			}
			out, err = s.Command("idempotency", "show", operation)
			must(t, out, err, "state       complete", "answer      201, 5 bytes")
		})
	}
}

func TestCommandErrors(t *testing.T) {
	s, _ := start(t, "")
	post(s, "/orders", "k", "soap")
	rest(s)
	out, err := s.Command("idempotency", "list", "--state", "complete", "--json")
	var all []struct{ Operation string }
	if must(t, out, err, "operation"); json.Unmarshal([]byte(out), &all) != nil || len(all) != 1 {
		t.Fatalf("listed %q", out)
	}
	for _, c := range []struct{ args, want string }{
		{"show none", `there is no operation "none"`},
		{"resolve none --release", `there is no operation "none"`},
		{"resolve " + all[0].Operation + " --release", "is complete: only an unknown outcome can be resolved"},
		{"resolve x", "expected either --release, if nothing happened, or --status"},
		{"resolve x --release --status 200", "expected either --release"},
		{"resolve x --status 99", "status: expected a whole number from 200 to 599, found 99"},
		{"list --state no", "state: expected one of any, pending, sent"},
		{"remove x", `unknown command "remove"`},
	} {
		if out, err := s.Command(append([]string{"idempotency"}, strings.Fields(c.args)...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q, %v; want %q", c.args, out, err, c.want)
		}
	}
	for path, want := range map[string]int{
		"?limit=0": 400, "?cursor=7:x": 400, "/x/y": 404, "/x/resolve/z": 404,
	} {
		if resp := s.Admin("GET", "/gatehouse/idempotency"+path, ""); resp.StatusCode != want {
			t.Errorf("GET %s: %d %s", path, resp.StatusCode, resp.Body)
		}
	}
	if resp := s.Admin("DELETE", "/gatehouse/idempotency", ""); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET" {
		t.Errorf("DELETE: %d, Allow %q", resp.StatusCode, resp.Header.Get("Allow"))
	}
	for body, want := range map[string]int{
		"": 400, "{": 400, `{"outcome":"x"}`: 400, `{"outcome":"release","status":200}`: 400, `{"other":1}`: 400,
		`{"outcome":"release"}{"outcome":"complete","status":201}`: 400, `{"body":"` + strings.Repeat("x", 2<<20) + `"}`: 413,
	} {
		if resp := s.Admin("POST", "/gatehouse/idempotency/x/resolve", body); resp.StatusCode != want {
			t.Errorf("resolving with %.60q: %d %s, want %d", body, resp.StatusCode, resp.Body, want)
		}
	}
}
