// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func nobody(netip.Prefix) (netip.Prefix, bool) { return netip.Prefix{}, false }

func TestPlan(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678_999_999, time.UTC)
	made := now.Truncate(time.Millisecond)
	req := addRequest{Prefixes: []string{"203.0.113.7", "2001:db8::1/32"}, For: "1d", Reason: "abuse"}
	changes, _, err := req.plan(now, netip.MustParseAddr("192.0.2.1"), nobody)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []Ban{
		{Prefix: netip.MustParsePrefix("203.0.113.7/32"), Reason: "abuse", Source: "manual", Created: made, Expires: made.Add(24 * time.Hour)},
		{Prefix: netip.MustParsePrefix("2001:db8::/32"), Reason: "abuse", Source: "manual", Created: made, Expires: made.Add(24 * time.Hour)}, // as written, not its /64
	} {
		if changes[i].Ban != want || changes[i].Lift {
			t.Errorf("got %+v, want %+v", changes[i], want)
		}
	}
	req.For = "1ns" // must not become a ban for good
	if changes, _, err = req.plan(now, netip.Addr{}, nobody); err != nil || changes[0].Expires != made.Add(time.Millisecond) {
		t.Errorf("a very short ban: %+v, %v", changes, err)
	}
}

func TestPlanKeepsTheOperatorIn(t *testing.T) {
	req := addRequest{Prefixes: []string{"192.0.2.0/24"}}
	for operator, refused := range map[string]bool{"192.0.2.1": true, "203.0.113.7": false, "127.0.0.1": false} {
		_, _, err := req.plan(time.Now(), netip.MustParseAddr(operator), nobody)
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "192.0.2.0/24 covers your own address 192.0.2.1") {
			t.Errorf("operator %s: %v", operator, err)
		}
	}
	req = addRequest{Prefixes: []string{"0.0.0.0/0"}} // from the machine itself, which is on the allow-list
	if _, _, err := req.plan(time.Now(), netip.MustParseAddr("127.0.0.1"), nobody); err != nil {
		t.Error(err)
	}
}
