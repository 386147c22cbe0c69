// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/gatehouse-proxy/gatehouse/modules/adminclient"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "bans",
		Usage: "add|remove|list|check|import|export",
		Short: "Lists and changes the bans of the running proxy",
		Long: `
Lists and changes which clients the running proxy bans (directive ip_ban). A
change is in force when the command returns, and needs no reload.

  gatehouse bans add 203.0.113.7 --for 1h --reason abuse
  gatehouse bans check 203.0.113.7
  gatehouse bans remove 203.0.113.7
`,
		CobraFunc: configureCommand,
	})
}

func configureCommand(cmd *cobra.Command) {
	adminclient.AddFlags(cmd)
	cmd.AddCommand(addCommand(), removeCommand(), listCommand(), checkCommand(), importCommand(), exportCommand())
}

// banFlags are the flags of the commands that ban.
type banFlags struct{ lasts, reason string }

func (f *banFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.lasts, "for", "", "How long the bans last, such as 1h or 7d (default: until they are removed)")
	cmd.Flags().StringVar(&f.reason, "reason", "", "Why, for people who read the list")
}

func addCommand() *cobra.Command {
	var flags banFlags
	cmd := &cobra.Command{
		Use:   "add <address|cidr>... [--for <duration>] [--reason <text>]",
		Short: "Bans addresses or CIDRs, replacing earlier bans of the same",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return post(cmd, addRequest{Prefixes: args, For: flags.lasts, Reason: flags.reason, Source: sourceManual})
		},
	}
	flags.add(cmd)
	return cmd
}

// post asks the proxy to ban, and says what it did.
func post(cmd *cobra.Command, req addRequest) error {
	var answer changeAnswer
	if err := adminclient.Ask(cmd, http.MethodPost, "/gatehouse/bans", req, &answer); err != nil {
		return err
	}
	done := "banned nothing"
	if answer.Changed > 0 {
		done = fmt.Sprintf("banned %s %s", count(answer.Changed), until(answer.Expires))
	}
	if len(answer.Skipped) > 0 {
		done += fmt.Sprintf("; left out %s, as the allow-list covers it: %s", count(len(answer.Skipped)), some(answer.Skipped))
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), done)
	return err
}

func removeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove <address|cidr>...",
		Short: "Lifts bans, of exactly these addresses or CIDRs",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var answer changeAnswer
			path := "/gatehouse/bans?" + url.Values{"prefix": args}.Encode()
			if err := adminclient.Ask(cmd, http.MethodDelete, path, nil, &answer); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "lifted the ban of %s\n", count(answer.Changed))
			return err
		},
	}
}

func listCommand() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "list [--dry-run] [--json]",
		Short: "Prints the bans in force, or those that would be",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			bans, err := fetch(cmd, dry)
			if err != nil {
				return err
			}
			table := adminclient.NewTable("PREFIX", "EXPIRES", "SOURCE", "CREATED", "REASON")
			for _, b := range bans {
				table.Add(shown(b.Prefix), expiry(b.Expires), b.Source, stamp(b.Created), b.Reason)
			}
			return adminclient.Print(cmd, bans, table)
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "Print what rules would have banned, but for dry_run")
	adminclient.AddJSONFlag(cmd)
	return cmd
}

// fetch gets the whole list: of the bans in force or, if dry, of those that would be.
func fetch(cmd *cobra.Command, dry bool) ([]Ban, error) {
	query := url.Values{"limit": {fmt.Sprint(maxPage)}, "dry_run": {fmt.Sprint(dry)}}
	return adminclient.Pages(cmd, "/gatehouse/bans", query, "after", func(page *listAnswer) ([]Ban, string) {
		return page.Bans, page.Next
	})
}

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check <address> [--json]",
		Short: "Says whether a client is banned, by what and how long",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var answer checkAnswer
			path := "/gatehouse/bans/check?" + url.Values{"address": args}.Encode()
			if err := adminclient.Ask(cmd, http.MethodGet, path, nil, &answer); err != nil {
				return err
			}
			table := adminclient.NewTable("ADDRESS", "BANNED", "PREFIX", "REMAINING", "ALLOWED BY", "REASON")
			table.Add(answer.row()...)
			return adminclient.Print(cmd, answer, table)
		},
	}
	adminclient.AddJSONFlag(cmd)
	return cmd
}

// row is the answer as a row of the table of `bans check`.
func (a checkAnswer) row() []string {
	verdict := "no"
	switch {
	case a.Banned:
		verdict = "yes"
	case a.DryRun:
		verdict = "no (dry run)"
	}
	if a.Ban == nil {
		return []string{a.Address, verdict, "", "", a.AllowedBy, ""}
	}
	remaining := a.Remaining
	if remaining == "" {
		remaining = "for good"
	}
	return []string{a.Address, verdict, shown(a.Ban.Prefix), remaining, a.AllowedBy, a.Ban.Reason}
}

func importCommand() *cobra.Command {
	var flags banFlags
	cmd := &cobra.Command{
		Use:   "import <file|-> [--for <duration>] [--reason <text>]",
		Short: "Bans every address and CIDR of a file, or none if a line is faulty",
		Long: `
Bans every address and CIDR of a file, one a line; - reads standard input. What
follows a # or a ; is a comment. If any line is faulty nothing is banned. What the
allow-list covers is left out, and named.
`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := addRequest{For: flags.lasts, Reason: flags.reason, Source: sourceImport, SkipAllowed: true}
			if err := req.readFile(args[0], cmd.InOrStdin()); err != nil {
				return err
			}
			if len(req.Prefixes) == 0 { // an empty list is no mistake of whoever runs this every hour
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "banned nothing: the list is empty")
				return err
			}
			return post(cmd, req)
		},
	}
	flags.add(cmd)
	return cmd
}

// readFile fills in the prefixes that a file lists.
func (req *addRequest) readFile(name string, stdin io.Reader) error {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		stdin = file
	}
	prefixes, err := readList(stdin)
	if err != nil {
		return fmt.Errorf("nothing was banned; %s is faulty:\n%w", name, err)
	}
	for _, p := range prefixes {
		req.Prefixes = append(req.Prefixes, p.String())
	}
	return nil
}

func exportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Prints the bans in force as a list that import reads",
		Long: `
Prints the bans in force as a list that import reads. Expiry and reason are
comments, which import does not read: bans that end are best left out of a list
that is to be imported (list --json has them all, for programs).
`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			bans, err := fetch(cmd, false)
			if err != nil {
				return err
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			for _, b := range bans {
				line := shown(b.Prefix) + " # " + until(b.Expires)
				if b.Reason != "" {
					line += ": " + strings.Join(strings.Fields(b.Reason), " ")
				}
				if _, err := fmt.Fprintln(out, line); err != nil {
					return err
				}
			}
			return out.Flush()
		},
	}
}

func count(n int) string {
	if n == 1 {
		return "1 prefix"
	}
	return fmt.Sprintf("%d prefixes", n)
}

// some names the first few of a list.
func some(list []string) string {
	const few = 10
	if len(list) > few {
		return strings.Join(list[:few], ", ") + ", ..."
	}
	return strings.Join(list, ", ")
}

func until(t time.Time) string {
	if t.IsZero() {
		return "for good"
	}
	return "until " + stamp(t)
}

func expiry(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return stamp(t)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
