// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/gatehouse-proxy/gatehouse/modules/adminclient"
)

// followEvery is how often `logs tail --follow` asks for more.
const followEvery = 250 * time.Millisecond

// errIncomplete has `logs verify` exit with 1.
var errIncomplete = errors.New("the lines are not complete")

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "logs",
		Usage: "status|tail|verify|replay",
		Short: "Shows and checks how the running proxy ships its logs",
		Long: `
Shows how the running proxy ships its logs (output ship), and checks what has
arrived.

  gatehouse logs status
  gatehouse logs tail --follow
  gatehouse logs verify delivered.ndjson
  gatehouse logs replay
`,
		CobraFunc: configureCommand,
	})
}

func configureCommand(cmd *cobra.Command) {
	adminclient.AddFlags(cmd)
	cmd.AddCommand(statusCommand(), tailCommand(), verifyCommand(), replayCommand())
}

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [--json]",
		Short: "Prints the state of every spool and its sinks",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []Status
			if err := adminclient.Ask(cmd, http.MethodGet, "/gatehouse/logs", nil, &all); err != nil {
				return err
			}
			table := adminclient.NewTable("SPOOL", "SINK", "STATE", "ACCEPTED", "DELIVERED", "PENDING", "DROPPED", "DEAD", "OLDEST", "SIZE", "HEALTH")
			for _, st := range all {
				st.rows(table)
			}
			return adminclient.Print(cmd, all, table)
		},
	}
	adminclient.AddJSONFlag(cmd)
	return cmd
}

// rows adds a row for each sink.
func (st *Status) rows(table *adminclient.Table) {
	size := humanize.IBytes(uint64(max(st.SizeBytes, 0)))
	if len(st.Sinks) == 0 {
		table.Add(st.Path, "", st.State, "", "", strconv.Itoa(st.HeldLines), "", "", "", size, st.Health)
	}
	for _, s := range st.Sinks {
		oldest := time.Duration(s.OldestAge * float64(time.Second)).Round(time.Millisecond).String()
		if s.Pending == 0 {
			oldest = ""
		}
		table.Add(st.Path, s.Name, s.State, count(s.Accepted), count(s.Delivered), count(s.Pending), count(s.Dropped),
			count(s.DeadLettered), oldest, size, st.Health)
	}
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }

// spoolFlag adds the flag that names a spool.
func spoolFlag(cmd *cobra.Command) {
	cmd.Flags().String("spool", "", "The spool's directory (default: the only one)")
}

func tailCommand() *cobra.Command {
	var lines int
	var follow bool
	cmd := &cobra.Command{
		Use:   "tail [--lines <n>] [--follow] [--spool <path>]",
		Short: "Prints the last lines of a spool, delivered or not",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if lines < 0 || lines > maxTail {
				return fmt.Errorf("--lines: expected 0 to %d, found %d", maxTail, lines)
			}
			return tail(cmd, lines, follow)
		},
	}
	cmd.Flags().IntVarP(&lines, "lines", "n", 10, "How many lines to begin with")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "Go on with lines as they come, until interrupted")
	spoolFlag(cmd)
	return cmd
}

func tail(cmd *cobra.Command, lines int, follow bool) error {
	client, err := adminclient.New(cmd)
	if err != nil {
		return err
	}
	query := url.Values{"limit": {strconv.Itoa(lines)}, "spool": {cmd.Flag("spool").Value.String()}}
	for {
		var answer tailAnswer
		if err := client.Do(cmd.Context(), http.MethodGet, "/gatehouse/logs/tail?"+query.Encode(), nil, &answer); err != nil {
			return err
		}
		for _, line := range answer.Lines {
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), line.Line); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		query.Set("after", count(answer.Next))
		query.Set("limit", strconv.Itoa(maxTail))
		select {
		case <-cmd.Context().Done():
			return nil
		case <-time.After(followEvery):
		}
	}
}

func verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify <file|->... [--json]",
		Short: "Finds gaps and duplicates in lines that a sink has taken",
		Long: `
Finds gaps and duplicates in lines that a sink has taken, as NDJSON in any order;
- reads standard input. Exits with 1 if a line is missing or unreadable;
duplicates are reported, as most sinks may be sent a batch twice after a crash.
`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var v Verifier
			for _, path := range args {
				if err := verifyFile(&v, path, cmd.InOrStdin()); err != nil {
					return fmt.Errorf("reading %s: %w", path, err)
				}
			}
			report := v.Report()
			table := adminclient.NewTable("NODE", "LINES", "FIRST", "LAST", "EPOCHS", "GAPS")
			for _, n := range report.Nodes {
				table.Add(n.Node, count(n.Lines), count(n.First), count(n.Last), strconv.Itoa(n.Epochs), strconv.Itoa(len(n.Gaps)))
			}
			if err := adminclient.Print(cmd, report, table); err != nil {
				return err
			}
			if report.Missing > 0 || report.Unreadable > 0 {
				return fmt.Errorf("%w: %d missing, %d unreadable, %d duplicates", errIncomplete,
					report.Missing, report.Unreadable, report.Duplicates)
			}
			_, err := fmt.Fprintf(cmd.ErrOrStderr(), "complete: %d lines, %d duplicates\n", report.Lines-report.Duplicates, report.Duplicates)
			return err
		},
	}
	adminclient.AddJSONFlag(cmd)
	return cmd
}

func verifyFile(v *Verifier, path string, stdin io.Reader) error {
	if path == "-" {
		return v.Read(stdin)
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return v.Read(file)
}

func replayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay [--sink <name>] [--spool <path>]",
		Short: "Sends the lines that a sink refused again",
		Long: `
Sends the lines that a sink refused, its dead letters, again: after the cause was
mended. Those that it takes now leave the dead letters.
`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{"spool": {cmd.Flag("spool").Value.String()}, "sink": {cmd.Flag("sink").Value.String()}}
			var sum replayed
			if err := adminclient.Ask(cmd, http.MethodPost, "/gatehouse/logs/replay?"+query.Encode(), nil, &sum); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "delivered %d lines; %d were refused again\n", sum.Delivered, sum.Refused)
			return err
		},
	}
	cmd.Flags().String("sink", "", "The sink's name (default: the only one)")
	spoolFlag(cmd)
	return cmd
}
