// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package gatehousetest

import (
	"bytes"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// Command runs one of the program's commands in this process, such as "bans", "list", with stdin as its standard input. It
// returns what was printed to standard output and error, and the error for which the program would exit with 1.
func Command(t testing.TB, stdin string, line ...string) (string, error) {
	t.Helper()
	found, ok := caddycmd.Commands()[line[0]]
	if !ok {
		t.Fatalf("there is no command %q", line[0])
	}
	var out bytes.Buffer
	root, cmd := &cobra.Command{Use: "gatehouse", SilenceUsage: true, SilenceErrors: true}, &cobra.Command{Use: line[0]}
	found.CobraFunc(cmd)
	root.AddCommand(cmd)
	root.SetArgs(line)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// Command is Command without standard input, for a command that asks the running config through its admin endpoint.
func (s *Server) Command(line ...string) (string, error) {
	s.t.Helper()
	return Command(s.t, "", append(line, "--address", s.admin)...)
}
