// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"bytes"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// command runs `gatehouse cache` with arguments, against the server's admin endpoint.
func command(t *testing.T, s *gatehousetest.Server, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root, cmd := &cobra.Command{Use: "gatehouse", SilenceUsage: true, SilenceErrors: true}, &cobra.Command{Use: "cache"}
	caddycmd.Commands()["cache"].CobraFunc(cmd)
	root.AddCommand(cmd)
	root.SetArgs(append(append([]string{"cache"}, args...), "--address", s.AdminAddress()))
	root.SetOut(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestCommand(t *testing.T) {
	o := newOrigin(t, header("body", freshLine, "Cache-Tag: red", `ETag: "v1"`))
	s := front(t, o)
	url := s.URL(":8080") + "/page"
	for _, c := range []struct{ args, out, err string }{
		{args: "inspect " + url, out: `"v1"`},
		{args: "inspect " + url + " --json", out: `"state": "fresh"`},
		{args: "stats", out: "256 MiB"},
		{args: "stats --json", out: `"items": 1`},
		{args: "purge " + url + " --tag blue --host example.com", out: "purged 3, here\n"},
		{args: "purge", err: "nothing to purge: expected a URL, or one of --tag, --prefix, --host, --group, --all"},
		{args: "purge page", err: "expected a URL such as https://example.com/path?query, found \"page\""},
		{args: "purge --host https://example.com/", err: "expected a host such as example.com"},
		{args: "purge --tag red --soft", out: "purged 1, here\n"},
		{args: "frob", err: `unknown command "frob"`},
	} {
		s.Get("/page")
		if strings.HasPrefix(c.args, "stats") || strings.HasPrefix(c.args, "inspect") {
			s.Get("/page")
		}
		out, err := command(t, s, strings.Fields(c.args)...)
		if !strings.Contains(out, c.out) || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: got %q, %v; want %q, %q", c.args, out, err, c.out, c.err)
		}
	}
	s.Get("/page")
	if _, err := command(t, s, "purge", url); err != nil {
		t.Fatal(err)
	}
	if cached(s.Get("/page")) {
		t.Error("a purge by the command does not hold")
	}
}
