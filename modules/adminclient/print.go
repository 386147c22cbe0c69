// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package adminclient

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// Table is an answer for people to read.
type Table struct {
	header []string
	rows   [][]string
}

// NewTable returns a table with the given columns and no rows.
func NewTable(columns ...string) *Table { return &Table{header: columns} }

// Add adds a row. An empty cell is printed as a dash, so that columns can be told apart.
func (t *Table) Add(cells ...string) { t.rows = append(t.rows, cells) }

// Print prints v as JSON if the command was given --json, and the table otherwise. A table without rows prints nothing, so
// that a script may count lines.
func Print(cmd *cobra.Command, v any, table *Table) error {
	out := cmd.OutOrStdout()
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(v)
	}
	if len(table.rows) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{table.header}, table.rows...) {
		line := make([]string, len(row))
		for i, cell := range row {
			line[i] = printable(cell)
		}
		if _, err := fmt.Fprintln(w, strings.Join(line, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

// printable keeps a cell on its line and in its column, and escape codes away from the terminal.
func printable(cell string) string {
	if cell == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, cell)
}
