// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
)

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

// bans runs `gatehouse bans` with arguments, against the server's admin endpoint.
func bans(t *testing.T, s *gatehousetest.Server, stdin string, args ...string) (string, error) {
	t.Helper()
	return gatehousetest.Command(t, stdin, append(append([]string{"bans"}, args...), "--address", s.AdminAddress())...)
}

// stamps are the times in an output.
var stamps = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

func TestCommands(t *testing.T) {
	s := gatehousetest.Start(t, config("ip_bans {\n\t\tallow 10.0.0.0/8\n\t}", plain))
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte("# bad hosts\n192.0.2.0/24\n\n2001:db8::/32 # abroad\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ stdin, args, out, err string }{
		{args: "list"},
		{args: "list --json", out: "[]\n"},
		{args: "export"},
		{args: "add 203.0.113.7 198.51.100.9/24 --for 1h --reason abuse", out: "banned 2 prefixes until TIME\n"},
		{args: "add 203.0.113.8", out: "banned 1 prefix for good\n"},
		{args: "add 10.1.2.3", err: "10.1.2.3 is covered by 10.0.0.0/8 of the allow-list: a ban would have no effect"},
		{args: "add nonsense", err: `prefixes: expected an IP address or CIDR such as 203.0.113.7 or 2001:db8::/32, found "nonsense"`},
		{args: "add", err: "requires at least 1 arg(s)"},
		{args: "add 203.0.113.9 --for ever", err: `for: expected a duration such as 250ms, 10s, 1h or 7d, found "ever"`},
		{args: "list", out: "PREFIX           EXPIRES               SOURCE  CREATED               REASON\n" +
			"198.51.100.0/24  TIME  manual  TIME  abuse\n" +
			"203.0.113.7      TIME  manual  TIME  abuse\n" +
			"203.0.113.8      never                 manual  TIME  -\n"},
		{args: "check 198.51.100.1", out: "ADDRESS       BANNED  PREFIX           REMAINING  ALLOWED BY  REASON\n" +
			"198.51.100.1  yes     198.51.100.0/24  SPAN     -           abuse\n"},
		{args: "check 203.0.113.8", out: "ADDRESS      BANNED  PREFIX       REMAINING  ALLOWED BY  REASON\n" +
			"203.0.113.8  yes     203.0.113.8  for good   -           -\n"},
		{args: "check 10.1.2.3", out: "ADDRESS   BANNED  PREFIX  REMAINING  ALLOWED BY  REASON\n" +
			"10.1.2.3  no      -       -          10.0.0.0/8  -\n"},
		{args: "check 10.0.0.0/8", err: `address: expected an IP address such as 203.0.113.7, found "10.0.0.0/8"`},
		{args: "remove 203.0.113.7 203.0.113.8", out: "lifted the ban of 2 prefixes\n"},
		{args: "remove 203.0.113.7", err: "203.0.113.7 is not banned"},
		{args: "remove 198.51.100.1", err: "198.51.100.1 is not banned by itself; the ban of 198.51.100.0/24 covers it: lift that one"},
		{args: "import " + list + " --reason feed", out: "banned 2 prefixes for good\n"},
		{args: "import -", stdin: "203.0.113.1\nnonsense\n", err: "nothing was banned; - is faulty:\nline 2: expected an IP address or CIDR"},
		{args: "import -", stdin: "# nothing\n", out: "banned nothing: the list is empty\n"},
		{args: "import -", stdin: "198.51.100.0/24\n10.1.2.3\n127.0.0.0/8\n", out: "banned 1 prefix for good; left out 2 prefixes, as the allow-list covers it: 10.1.2.3/32, 127.0.0.0/8\n"},
		{args: "import -", stdin: "10.1.2.3\n", out: "banned nothing; left out 1 prefix, as the allow-list covers it: 10.1.2.3/32\n"},
		{args: "add 198.51.100.9/24 --for 1h --reason abuse", out: "banned 1 prefix until TIME\n"},
		{args: "import /does/not/exist", err: "open /does/not/exist: no such file or directory"},
		{args: "export", out: "192.0.2.0/24 # for good: feed\n198.51.100.0/24 # until TIME: abuse\n2001:db8::/32 # for good: feed\n"},
		{args: "lift", err: `unknown command "lift"; expected one of: `},
	} {
		out, err := bans(t, s, c.stdin, strings.Fields(c.args)...)
		out = stamps.ReplaceAllString(out, "TIME")
		out = regexp.MustCompile(`59m5\ds|1h0m0s`).ReplaceAllString(out, "SPAN")
		if out != c.out || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("bans %s:\n got %q, %v\nwant %q, %s", c.args, out, err, c.out, c.err)
		}
	}
	out, err := bans(t, s, "", "list", "--json")
	var listed []ipban.Ban
	if err != nil || json.Unmarshal([]byte(out), &listed) != nil || len(listed) != 3 || listed[0].Source != "import" {
		t.Errorf("list --json: %s, %v", out, err)
	}
	out, err = bans(t, s, "", "check", "192.0.2.1", "--json")
	if err != nil || !strings.Contains(out, `"banned": true`) {
		t.Errorf("check --json: %s, %v", out, err)
	}
}

// What export prints, import reads.
func TestExportedListIsImported(t *testing.T) {
	s := gatehousetest.Start(t, config("", plain))
	ban(t, s, someone, "2001:db8::/32", "::/1")
	exported, err := bans(t, s, "", "export")
	if err != nil {
		t.Fatal(err)
	}
	lift(t, s, someone)
	lift(t, s, "2001:db8::/32")
	if out, err := bans(t, s, exported, "import", "-"); err != nil || out != "banned 3 prefixes for good\n" {
		t.Fatalf("got %s, %v", out, err)
	}
	want(t, s, map[string]int{someone: 403, "2001:db8::1": 403})
}

// A list as long as feeds of bad addresses are goes in and comes out in one command each.
func TestLongList(t *testing.T) {
	s := gatehousetest.Start(t, config("", plain))
	var list strings.Builder
	const n = 150_000 // more than a page
	for i := range n {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		list.WriteString(addr.String() + "\n")
	}
	if _, err := bans(t, s, list.String(), "import", "-"); err != nil {
		t.Fatal(err)
	}
	if out, err := bans(t, s, "", "export"); err != nil || strings.Count(out, "\n") != n {
		t.Fatalf("%d lines, %v", strings.Count(out, "\n"), err)
	}
}
