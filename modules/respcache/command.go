// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/gatehouse-proxy/gatehouse/modules/adminclient"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "cache",
		Usage: "purge|stats|inspect",
		Short: "Purges and inspects the response cache of the running proxy",
		Long: `
Purges and inspects the answers that the running proxy stores (directive
response_cache). A purge holds when the command returns; with a purge feed it
reaches every proxy.

  gatehouse cache purge https://example.com/news
  gatehouse cache purge --tag product-17 --soft
  gatehouse cache inspect https://example.com/news
  gatehouse cache stats
`,
		CobraFunc: configureCommand,
	})
}

func configureCommand(cmd *cobra.Command) {
	adminclient.AddFlags(cmd)
	cmd.AddCommand(purgeCommand(), statsCommand(), inspectCommand())
}

// purgeFlags are what `cache purge` may be given beside URLs.
type purgeFlags struct {
	tags, prefixes, hosts, groups []string
	all, soft                     bool
}

func purgeCommand() *cobra.Command {
	var flags purgeFlags
	cmd := &cobra.Command{
		Use:   "purge [<url>...] [--tag <tag>] [--prefix <url>] [--host <host>] [--group <origin group>] [--all] [--soft]",
		Short: "Removes answers: of URLs, by tag, prefix, host or cache group, or all",
		Long: `
Removes answers from the cache. URLs are the ones that clients ask for, with
scheme and query. --tag removes every answer that named the tag in Cache-Tag,
Surrogate-Key or Cache-Groups. --soft makes answers stale instead: they are
validated before they are used again, or used while that is done where they
allow it.
`,
		RunE: func(cmd *cobra.Command, args []string) error {
			purges, err := flags.purges(args)
			if err != nil {
				return err
			}
			var answer purgeAnswer
			if err := adminclient.Ask(cmd, http.MethodPost, "/gatehouse/cache/purge", purgeRequest{purges}, &answer); err != nil {
				return err
			}
			where := "here"
			if answer.Sent {
				where = "here, and sent to the other proxies"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "purged %d, %s\n", answer.Purged, where)
			return err
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&flags.tags, "tag", nil, "A tag; may be repeated")
	f.StringArrayVar(&flags.prefixes, "prefix", nil, "What URLs begin with, such as https://example.com/img/; may be repeated")
	f.StringArrayVar(&flags.hosts, "host", nil, "A host, such as example.com; may be repeated")
	f.StringArrayVar(&flags.groups, "group", nil, `An origin and its cache group, such as "https://example.com news"; may be repeated`)
	f.BoolVar(&flags.all, "all", false, "Everything")
	f.BoolVar(&flags.soft, "soft", false, "Make answers stale instead of removing them")
	return cmd
}

// purges lists what is asked for.
func (f *purgeFlags) purges(urls []string) (purges []Purge, err error) {
	for _, list := range []struct {
		kind   string
		values []string
	}{{PurgeURL, urls}, {PurgeTag, f.tags}, {PurgePrefix, f.prefixes}, {PurgeHost, f.hosts}, {PurgeGroup, f.groups}} {
		for _, value := range list.values {
			purges = append(purges, Purge{Kind: list.kind, Value: value, Soft: f.soft})
		}
	}
	if f.all {
		purges = append(purges, Purge{Kind: PurgeAll, Soft: f.soft})
	}
	if len(purges) == 0 {
		return nil, errors.New("nothing to purge: expected a URL, or one of --tag, --prefix, --host, --group, --all")
	}
	return purges, nil
}

func statsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats [--json]",
		Short: "Prints how full the cache is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s Stats
			if err := adminclient.Ask(cmd, http.MethodGet, "/gatehouse/cache", nil, &s); err != nil {
				return err
			}
			bytes := func(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
			table := adminclient.NewTable("BUDGET", "HELD", "URIS", "IN FLIGHT", "BODIES", "FILLS", "EVICTED", "REJECTED", "DROPPED")
			table.Add(bytes(s.Budget), bytes(s.Held), strconv.FormatInt(s.Items, 10), bytes(s.InFlight), bytes(s.Bodies),
				strconv.FormatInt(s.Fills, 10), strconv.FormatUint(s.Evicted, 10), strconv.FormatUint(s.Rejected, 10),
				strconv.FormatUint(s.Dropped, 10))
			return adminclient.Print(cmd, s, table)
		},
	}
	adminclient.AddJSONFlag(cmd)
	return cmd
}

func inspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect <url> [--json]",
		Short: "Prints what is stored of a URL",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var answer inspectAnswer
			path := "/gatehouse/cache/inspect?" + url.Values{"url": args}.Encode()
			if err := adminclient.Ask(cmd, http.MethodGet, path, nil, &answer); err != nil {
				return err
			}
			table := adminclient.NewTable("KEY", "STATUS", "STATE", "BYTES", "AGE", "TTL", "CODING", "VARY", "ETAG")
			for _, v := range answer.Variants {
				table.Add(strings.ReplaceAll(v.Key, keySeparator, " "), strconv.Itoa(v.Status), v.State, strconv.FormatInt(v.Bytes, 10),
					strconv.FormatInt(v.Age, 10), strconv.FormatInt(v.TTL, 10), v.Coding, varyText(v.Vary), v.ETag)
			}
			return adminclient.Print(cmd, answer, table)
		},
	}
	adminclient.AddJSONFlag(cmd)
	return cmd
}

func varyText(vary map[string]string) string {
	var parts []string
	for name, value := range vary {
		parts = append(parts, name+"="+value)
	}
	return strings.Join(parts, ", ")
}
