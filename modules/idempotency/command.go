// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/gatehouse-proxy/gatehouse/modules/adminclient"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "idempotency",
		Usage: "list|show|resolve",
		Short: "Lists and settles operations with an idempotency key",
		Long: `
Lists operations with an idempotency key (directive idempotency_key), and
settles those whose outcome is unknown, once you have found out what became of
them.

  gatehouse idempotency list
  gatehouse idempotency show 5f0c...
  gatehouse idempotency resolve 5f0c... --release
  gatehouse idempotency resolve 5f0c... --status 201 --body '{"id":7}'
`,
		CobraFunc: configureCommand,
	})
}

func configureCommand(cmd *cobra.Command) {
	adminclient.AddFlags(cmd)
	cmd.AddCommand(listCommand(), showCommand(), resolveCommand())
}

func listCommand() *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use:   "list [--state <state>] [--json]",
		Short: "Prints operations, by default those whose outcome is unknown",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			records, err := fetch(cmd, state)
			if err != nil {
				return err
			}
			table := adminclient.NewTable("OPERATION", "STATE", "REASON", "CREATED", "EXPIRES", "ABOUT")
			for _, rec := range records {
				table.Add(rec.Operation, rec.State, rec.Reason, stamp(rec.Created), stamp(rec.Expires), rec.About)
			}
			return adminclient.Print(cmd, records, table)
		},
	}
	cmd.Flags().StringVar(&state, "state", "unknown", "pending, sent, complete, unknown, foreign or any")
	adminclient.AddJSONFlag(cmd)
	return cmd
}

// fetch gets the whole list.
func fetch(cmd *cobra.Command, state string) ([]recordAnswer, error) {
	query := url.Values{"state": {state}, "limit": {"1000"}}
	return adminclient.Pages(cmd, adminPath, query, "cursor", func(page *listAnswer) ([]recordAnswer, string) {
		return page.Operations, page.Cursor
	})
}

func showCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show <operation> [--json]",
		Short: "Prints one operation",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var rec recordAnswer
			if err := adminclient.Ask(cmd, http.MethodGet, adminPath+"/"+url.PathEscape(args[0]), nil, &rec); err != nil {
				return err
			}
			table := adminclient.NewTable("FIELD", "VALUE")
			table.Add("operation", rec.Operation)
			table.Add("state", rec.State)
			table.Add("reason", rec.Reason)
			table.Add("about", rec.About)
			table.Add("attempts", fmt.Sprint(rec.Fence))
			table.Add("created", stamp(rec.Created))
			table.Add("lease ends", stamp(rec.LeaseEnds))
			table.Add("expires", stamp(rec.Expires))
			table.Add("store", rec.Store)
			if rec.Status > 0 {
				table.Add("answer", fmt.Sprintf("%d, %d bytes", rec.Status, rec.Bytes))
			}
			return adminclient.Print(cmd, rec, table)
		},
	}
	adminclient.AddJSONFlag(cmd)
	return cmd
}

func resolveCommand() *cobra.Command {
	var req resolveRequest
	var release bool
	cmd := &cobra.Command{
		Use:   "resolve <operation> --release | --status <code> [--content-type <type>] [--body <text>]",
		Short: "Settles an operation whose outcome is unknown",
		Long: `
Settles an operation whose outcome is unknown. Find out first: --release allows
it to be carried out again, and with --status, retries get this answer.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if release == (req.Status != 0) {
				return errors.New("expected either --release, if nothing happened, or --status, if it took effect")
			}
			if req.Outcome = "complete"; release {
				req.Outcome = "release"
			}
			path := adminPath + "/" + url.PathEscape(args[0]) + "/resolve"
			if err := adminclient.Ask(cmd, http.MethodPost, path, req, nil); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "resolved %s: %s\n", args[0], req.Outcome)
			return err
		},
	}
	cmd.Flags().BoolVar(&release, "release", false, "Nothing happened: a retry is carried out")
	cmd.Flags().IntVar(&req.Status, "status", 0, "It took effect: retries are answered with this status")
	cmd.Flags().StringVar(&req.ContentType, "content-type", "", "Content type of that answer")
	cmd.Flags().StringVar(&req.Body, "body", "", "Body of that answer")
	return cmd
}

func stamp(t time.Time) string { return t.Local().Format(time.DateTime) }
