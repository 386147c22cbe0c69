// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package adminclient_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile" // the adapter of --config
	"github.com/spf13/cobra"

	"github.com/gatehouse-proxy/gatehouse/modules/adminclient"
)

// endpoint stands for the admin endpoint: it echoes what it got, and refuses some paths.
func endpoint(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/refused":
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, `{"error":"it is taken"}`)
	case "/nonsense":
		_, _ = io.WriteString(w, "<html>")
	case "/echo":
		_, _ = io.Copy(w, r.Body)
	default:
		http.NotFound(w, r)
	}
}

// run runs a command whose RunE is do, with the flags of AddFlags and the arguments.
func run(t *testing.T, do func(*cobra.Command) error, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := &cobra.Command{
		Use: "test", SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return do(cmd) },
	}
	adminclient.AddFlags(cmd)
	adminclient.AddJSONFlag(cmd)
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

// ask sends one request and prints the answer.
func ask(path string) func(*cobra.Command) error {
	return func(cmd *cobra.Command) error {
		client, err := adminclient.New(cmd)
		if err != nil {
			return err
		}
		var answer []string
		if err := client.Do(cmd.Context(), http.MethodPost, path, []string{"a", "b"}, &answer); err != nil {
			return err
		}
		table := adminclient.NewTable("NAME", "VALUE")
		for _, a := range answer {
			table.Add(a, "")
		}
		return adminclient.Print(cmd, answer, table)
	}
}

func TestDo(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(endpoint))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	for name, c := range map[string]struct {
		path, out, err string
		args           []string
	}{
		"table":         {path: "/echo", out: "NAME  VALUE\na     -\nb     -\n"},
		"JSON":          {path: "/echo", args: []string{"--json"}, out: "[\n  \"a\",\n  \"b\"\n]\n"},
		"refusal":       {path: "/refused", err: "it is taken"},
		"unknown path":  {path: "/missing", err: "the admin endpoint answered 404 Not Found 404 page not found"},
		"not JSON":      {path: "/nonsense", err: "decoding the answer"},
		"nobody there":  {path: "/echo", args: []string{"--address", "127.0.0.1:1"}, err: "is it running"},
		"no address":    {path: "/echo", args: []string{"--address", "127.0.0.1:1-9"}, err: "is no address of an admin endpoint; expected"},
		"a URL":         {path: "/echo", args: []string{"--address", "http://127.0.0.1:1"}, err: "is no address of an admin endpoint"},
		"off":           {path: "/echo", args: []string{"--address", "off"}, err: "is no address of an admin endpoint"},
		"no such file":  {path: "/echo", args: []string{"--address", "", "--config", "missing.json"}, err: "finding the admin endpoint"},
		"unknown flags": {path: "/echo", args: []string{"--adress", address}, err: "unknown flag"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := run(t, ask(c.path), append([]string{"--address", address}, c.args...)...)
			if out != c.out || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("got %q, %v; want %q, %q", out, err, c.out, c.err)
			}
		})
	}
	_, err := run(t, ask("/refused"), "--address", address)
	var refused *adminclient.Error
	if !errors.As(err, &refused) || refused.Status != http.StatusConflict {
		t.Fatalf("got %v, want an *Error with its status", err)
	}
}

func TestAddressFromConfig(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(endpoint))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	text := "{\n\tadmin " + strings.TrimPrefix(server.URL, "http://") + "\n}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, ask("/echo"), "--config", file); err != nil || !strings.HasPrefix(out, "NAME") {
		t.Fatalf("got %q, %v", out, err)
	}
}

// The endpoint on a Unix socket is Caddy's own, as it refuses origins that it does not know.
func TestUnixSocket(t *testing.T) {
	address := "unix/" + filepath.Join(t.TempDir(), "s") + "|0220"
	config := fmt.Sprintf(`{"admin":{"listen":%q,"config":{"persist":false}},"apps":{}}`, address)
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	var got struct{ Admin struct{ Listen string } }
	read := func(cmd *cobra.Command) error {
		client, err := adminclient.New(cmd)
		if err != nil {
			return err
		}
		return client.Do(cmd.Context(), http.MethodGet, "/config/", nil, &got)
	}
	if _, err := run(t, read, "--address", address); err != nil || got.Admin.Listen != address {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestCellsStayInTheirPlace(t *testing.T) {
	out, err := run(t, func(cmd *cobra.Command) error {
		table := adminclient.NewTable("REASON")
		table.Add("two\nlines\tand \x1b[31mred")
		return adminclient.Print(cmd, nil, table)
	})
	if err != nil || out != "REASON\ntwo lines and  [31mred\n" {
		t.Fatalf("got %q, %v", out, err)
	}
}

func TestUnknownSubcommand(t *testing.T) {
	for args, want := range map[string]string{
		"list":        "",
		"":            "", // the help
		"lst":         `unknown command "lst"; expected one of: add, `,
		"lst --help":  "",
		"dd 10.0.0.1": `unknown command "dd"`,
	} {
		cmd := &cobra.Command{Use: "test", SilenceUsage: true, SilenceErrors: true}
		adminclient.AddFlags(cmd)
		for _, name := range []string{"list", "add"} {
			cmd.AddCommand(&cobra.Command{Use: name, RunE: func(*cobra.Command, []string) error { return nil }})
		}
		cmd.SetOut(io.Discard)
		cmd.SetArgs(strings.Fields(args))
		if err := cmd.Execute(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}
