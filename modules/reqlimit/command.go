// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/gatehouse-proxy/gatehouse/modules/adminclient"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "limits",
		Usage: "list|top|show|reset",
		Short: "Looks into the request limits of the running proxy",
		Long: `
Looks into the request limits of the running proxy (directive request_limit), and
resets what a client has used.

  gatehouse limits list
  gatehouse limits top logins
  gatehouse limits show logins 203.0.113.7
  gatehouse limits reset logins 203.0.113.7
`,
		CobraFunc: configureCommand,
	})
}

func configureCommand(cmd *cobra.Command) {
	adminclient.AddFlags(cmd)
	cmd.AddCommand(listCommand(), topCommand(), showCommand(), resetCommand())
}

// ask sends a request about a policy and a key, either of which may be empty.
func ask(cmd *cobra.Command, method, policy, key string, answer any) error {
	client, err := adminclient.New(cmd)
	if err != nil {
		return err
	}
	query := url.Values{}
	if policy != "" {
		query.Set("policy", policy)
	}
	if key != "" {
		query.Set("key", key)
	}
	return client.Do(cmd.Context(), method, adminPath+"?"+query.Encode(), nil, answer)
}

func listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [--json]",
		Short: "Prints the policies",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []policyAnswer
			if err := ask(cmd, http.MethodGet, "", "", &list); err != nil {
				return err
			}
			table := adminclient.NewTable("POLICY", "ALGORITHM", "WINDOWS", "KEY", "STATE")
			for _, p := range list {
				table.Add(p.Policy, p.Algorithm, strings.Join(p.Windows, " "), p.Key, p.state())
			}
			return adminclient.Print(cmd, list, table)
		},
	}
	adminclient.AddJSONFlag(cmd)
	return cmd
}

// state is what a person should know of a policy.
func (p policyAnswer) state() string {
	var parts []string
	if p.Away != "" {
		parts = append(parts, "store away: "+p.Away)
	}
	if p.DryRun {
		parts = append(parts, "dry run")
	}
	if p.Proxies > 1 {
		parts = append(parts, fmt.Sprintf("%d proxies", p.Proxies))
	}
	if len(parts) == 0 {
		return "ok"
	}
	return strings.Join(parts, ", ")
}

func topCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "top <policy> [--json]",
		Short: "Prints who is refused most",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var answer policyAnswer
			if err := ask(cmd, http.MethodGet, args[0], "", &answer); err != nil {
				return err
			}
			list := append([]offender{}, answer.Offenders...) // [], never null
			table := adminclient.NewTable("KEY", "REFUSED", "AT LEAST")
			for _, o := range list {
				table.Add(o.Key, fmt.Sprint(o.Refused), fmt.Sprint(o.Refused-o.Error))
			}
			return adminclient.Print(cmd, list, table)
		},
	}
	adminclient.AddJSONFlag(cmd)
	return cmd
}

func showCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show <policy> <key> [--json]",
		Short: "Prints how much a key has left",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var answer keyAnswer
			if err := ask(cmd, http.MethodGet, args[0], args[1], &answer); err != nil {
				return err
			}
			table := adminclient.NewTable("KEY", "CLASS", "WINDOW", "USED", "REMAINING", "MORE IN")
			for _, c := range answer.Counts {
				table.Add(answer.Key, c.Class, c.Window, fmt.Sprint(c.Used), fmt.Sprint(c.Remaining), fmt.Sprintf("%gs", c.Reset))
			}
			return adminclient.Print(cmd, answer, table)
		},
	}
	adminclient.AddJSONFlag(cmd)
	return cmd
}

func resetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reset <policy> <key>",
		Short: "Forgets what a key has used",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var answer resetAnswer
			if err := ask(cmd, http.MethodDelete, args[0], args[1], &answer); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "reset %s of policy %s\n", answer.Key, answer.Policy)
			return err
		},
	}
}
