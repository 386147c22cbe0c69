// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func TestCommands(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	s := gatehousetest.Start(t, ":8080 {\n\treverse_proxy "+address+" {\n\t\tlb_policy consistent_hash\n\t}\n}\n")
	s.Get("/")
	for _, c := range []struct {
		args string
		want []string // parts of the output
		err  string
	}{
		{args: "list", want: []string{"UPSTREAM", "IN FLIGHT", address, "open", "consistent_hash"}},
		{args: "list --json", want: []string{`"address": "` + address + `"`, `"requests": 1`, `"failures": 0`}},
		{args: "drain " + address, want: []string{address, "drained"}},
		{args: "weight " + address + " 2.5", want: []string{"drained", "2.5 (set)"}},
		{args: "weight " + address + " reset --json", want: []string{`"weight": 1`, `"weight_overridden": false`}},
		{args: "undrain " + address, want: []string{"open"}},
		{args: "drain nosuch:1", err: `no upstream "nosuch:1"; known are: `},
		{args: "weight " + address + " 0", err: `expected a number from 0.001 to 1000, found "0" (or reset)`},
		{args: "weight " + address, err: "accepts 2 arg(s)"},
		{args: "list x", err: "unknown command"},
		{args: "dran " + address, err: `unknown command "dran"; expected one of: `},
		{args: "", want: []string{"Available Commands"}},
	} {
		out, err := s.Command(append([]string{"upstreams"}, strings.Fields(c.args)...)...)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, want %q", c.args, err, c.err)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s printed\n%s\nwhich lacks %q", c.args, out, want)
			}
		}
	}
}

// An empty table would leave a new user at a loss.
func TestListOfNothing(t *testing.T) {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") }))
	t.Cleanup(endpoint.Close)
	cmd := &cobra.Command{Use: "upstreams"}
	addSubcommands(cmd)
	var out, hint bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&hint)
	cmd.SetArgs([]string{"list", "--address", endpoint.Listener.Addr().String()})
	if err := cmd.Execute(); err != nil || !strings.Contains(hint.String(), "no lb_policy of consistent_hash, ") || strings.Contains(out.String(), "lb_policy") {
		t.Errorf("%v; printed %q, and %q as a hint", err, out.String(), hint.String())
	}
}
