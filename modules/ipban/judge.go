// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// outcome is what becomes of a request. Its texts are metric labels and placeholder values.
type outcome int

const (
	passed      outcome = iota // no ban covers the client
	banned                     // the client is refused
	dryRun                     // it would be, but for dry_run
	allowListed                // a ban covers the client, and the allow-list or what it stands for wins
	outcomes
)

func (o outcome) String() string {
	return [outcomes]string{"passed", "banned", "dry_run", "allow_listed"}[o]
}

// verdict is a decision and what it rests on.
type verdict struct {
	outcome outcome
	ban     Ban // zero if passed
}

// judge decides on a client's address. isProxy says whether it is a trusted proxy's own; it is asked only if a ban covers
// the address, so that passing costs one lookup and allocates nothing.
func (a *App) judge(addr netip.Addr, isProxy func() bool) verdict {
	prefix, e, ok := a.list.table.find(addr)
	if !ok {
		return verdict{}
	}
	v := verdict{banned, e.ban(prefix)}
	switch {
	case a.allowed.Contains(addr) || isProxy():
		v.outcome = allowListed
	case a.DryRun:
		v.outcome = dryRun
	}
	return v
}

// allowList builds the table of who is never banned: the given prefixes and the machine itself.
func allowList(prefixes []netip.Prefix) *bart.Lite {
	t := new(bart.Lite)
	for _, p := range append(loopback(), prefixes...) {
		t.Insert(p)
	}
	return t
}

// loopback are the prefixes of the machine itself, RFC 1122 section 3.2.1.3 and RFC 4291 section 2.5.3.
func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}
