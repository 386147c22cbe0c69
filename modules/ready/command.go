// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ready

import (
	"net/http"
	"strconv"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/gatehouse-proxy/gatehouse/modules/adminclient"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "ready",
		Usage: "status|drain|resume [--address <admin>] [--json]",
		Short: "Takes the running proxy out of rotation and back",
		Long: `
Drives what the 'ready' directive of the running proxy answers. After 'drain' it answers 503,
so that a load balancer in front sends its traffic elsewhere, while the proxy
goes on serving all that still comes; 'resume' ends that.`,
		CobraFunc: addCommands,
	})
}

func addCommands(cmd *cobra.Command) {
	adminclient.AddFlags(cmd)
	for _, sub := range []struct{ name, short, method, path string }{
		{"status", "Shows whether the proxy is ready", http.MethodGet, "/gatehouse/ready"},
		{"drain", "Begins a drain", http.MethodPost, "/gatehouse/drain"},
		{"resume", "Ends a drain", http.MethodDelete, "/gatehouse/drain"},
	} {
		child := &cobra.Command{Use: sub.name, Short: sub.short, Args: cobra.NoArgs}
		child.RunE = func(cmd *cobra.Command, _ []string) error { return ask(cmd, sub.method, sub.path) }
		adminclient.AddJSONFlag(child)
		cmd.AddCommand(child)
	}
}

// ask sends one request and prints the state that it answers.
func ask(cmd *cobra.Command, method, path string) error {
	var state State
	if err := adminclient.Ask(cmd, method, path, nil, &state); err != nil {
		return err
	}
	table := adminclient.NewTable("READY", "DRAIN", "EXITING")
	table.Add(strconv.FormatBool(state.Ready), strconv.FormatBool(state.Drain), strconv.FormatBool(state.Exiting))
	return adminclient.Print(cmd, state, table)
}
