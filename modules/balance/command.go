// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/gatehouse-proxy/gatehouse/modules/adminclient"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "upstreams",
		Usage: "<list|drain|undrain|weight>",
		Short: "Shows, drains and weighs the upstreams of the running proxy",
		Long: `
Talks to the running proxy through its admin endpoint. What is changed takes effect at once, without a reload, lasts over
reloads, and is forgotten when the process ends.`,
		CobraFunc: addSubcommands,
	})
}

func addSubcommands(cmd *cobra.Command) {
	adminclient.AddFlags(cmd)
	cmd.AddCommand(
		subcommand("list", "Lists the upstreams with their load, weight and failures", cobra.NoArgs, runList),
		subcommand("drain <upstream>", "Sends an upstream no new requests; those in flight go on", cobra.ExactArgs(1),
			func(cmd *cobra.Command, args []string) error {
				return runCommand(cmd, drainPath, Command{Upstream: args[0]})
			}),
		subcommand("undrain <upstream>", "Sends a drained upstream requests again", cobra.ExactArgs(1),
			func(cmd *cobra.Command, args []string) error {
				return runCommand(cmd, undrainPath, Command{Upstream: args[0]})
			}),
		subcommand("weight <upstream> <weight|reset>", "Changes an upstream's weight, or gives back the configured one",
			cobra.ExactArgs(2), runWeight),
	)
}

func subcommand(use, short string, args cobra.PositionalArgs, run func(*cobra.Command, []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args, RunE: run}
	adminclient.AddJSONFlag(cmd)
	return cmd
}

func runList(cmd *cobra.Command, _ []string) error {
	var all []Status
	if err := adminclient.Ask(cmd, http.MethodGet, upstreamsPath, nil, &all); err != nil {
		return err
	}
	if len(all) == 0 {
		cmd.PrintErrln("No upstream is known: the running config has no lb_policy of " + commaPolicies + ".")
	}
	return adminclient.Print(cmd, all, statusTable(all...))
}

// commaPolicies are the policies that know upstreams.
const commaPolicies = consistentHash + ", " + leastResponseTime + ", " + leastBandwidth + " or " + guard

func runWeight(cmd *cobra.Command, args []string) error {
	c := Command{Upstream: args[0], Reset: args[1] == "reset"}
	if !c.Reset {
		weight, err := parseWeight(args[1])
		if err != nil {
			return fmt.Errorf("weight: %w (or reset)", err)
		}
		c.Weight = weight
	}
	return runCommand(cmd, weightPath, c)
}

func runCommand(cmd *cobra.Command, path string, c Command) error {
	var s Status
	if err := adminclient.Ask(cmd, http.MethodPost, path, c, &s); err != nil {
		return err
	}
	return adminclient.Print(cmd, s, statusTable(s))
}

// health sums up an upstream's active checks in a word: the worst verdict.
func (s *Status) health() string {
	word := "-"
	for _, h := range s.Health {
		if word == "-" || h.Verdict == down.String() {
			word = h.Verdict
		}
	}
	return word
}

func statusTable(all ...Status) *adminclient.Table {
	t := adminclient.NewTable("UPSTREAM", "STATE", "HEALTH", "IN FLIGHT", "WEIGHT", "RESPONSE", "FAILING", "REQUESTS", "FAILURES", "POLICIES")
	for _, s := range all {
		weight := formatWeight(s.Weight)
		if s.WeightOverridden {
			weight += " (set)"
		}
		t.Add(s.Address, s.state(), s.health(), strconv.FormatInt(s.InFlight, 10), weight, s.response(), s.failing(),
			strconv.FormatUint(s.Requests, 10), strconv.FormatUint(s.Failures, 10), strings.Join(s.Policies, " "))
	}
	return t
}
