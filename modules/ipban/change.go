// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
)

// A change, that is recording it and hearing of it from the store, may take putTimeout, and an import changeTimeout more
// for each prefix: a minute for a million, which a busy machine needs.
const (
	putTimeout    = 5 * time.Second
	changeTimeout = 55 * time.Microsecond
)

// What the caller of a change may want to tell apart.
var (
	// ErrFull is returned for a ban that would exceed max_bans.
	ErrFull = errors.New("the list of bans is full")
	// ErrAllowListed is returned for a ban that would have no effect.
	ErrAllowListed = errors.New("never banned: covered by the allow-list")
)

// BanAddress bans a client's address for d, or for good if d is zero; of an IPv6 address, the prefix of ipv6_prefix
// bits. source names the policy that asks, reason says why. When it returns nil, the ban is in force in this process; it
// takes up to 5 s where the store is shared, so a handler does not wait for it with a client.
//
// It returns ErrAllowListed for an address that is never banned, and ErrFull if there are max_bans already.
func (a *App) BanAddress(ctx context.Context, addr netip.Addr, d time.Duration, source, reason string) error {
	if !addr.IsValid() {
		return errors.New("banning a client: it has no address")
	}
	addr = addr.Unmap().WithZone("")
	if a.allowed.Contains(addr) {
		return fmt.Errorf("banning %s: %w", addr, ErrAllowListed)
	}
	ban := newBan(a.client(addr), time.Now(), d, source, reason)
	return a.put(ctx, []Change{{Ban: ban}})
}

// client is what an address stands for: of IPv6, the prefix of ipv6_prefix bits. addr is valid and has no zone.
func (a *App) client(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = a.IPv6Prefix
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		panic(fmt.Sprintf("BUG: %s has no prefix of %d bits: %v", addr, bits, err))
	}
	return prefix
}

// newBan makes a ban in the form that a Store is promised.
func newBan(prefix netip.Prefix, now time.Time, d time.Duration, source, reason string) Ban {
	b := Ban{Prefix: prefix, Reason: tidy(reason), Source: tidy(source), Created: now.UTC().Truncate(time.Millisecond)}
	if d > 0 {
		b.Expires = b.Created.Add(d.Truncate(time.Millisecond))
	}
	return b
}

// tidy makes a text what a Store is promised: up to maxReason bytes of UTF-8 without control characters.
func tidy(text string) string {
	text = strings.ToValidUTF8(text[:min(len(text), maxReason)], "")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// put records changes in the store and returns when they are in force in this process.
func (a *App) put(ctx context.Context, changes []Change) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout+time.Duration(len(changes))*changeTimeout)
	defer cancel()
	release, err := a.room(changes)
	if err != nil {
		return err
	}
	defer release()
	a.list.cancel(changes)
	a.list.history.keep(changes, time.Now())
	return a.list.record(ctx, a.store, changes)
}

// room returns ErrFull if the changes would bring more than max_bans prefixes into the list, once expired ones are gone.
// Otherwise it keeps room for them until release is called: of a thousand callers at once, no more are let through than
// fit. What is being recorded counts twice for a moment, so a list may pass for full a moment early, and never late.
func (a *App) room(changes []Change) (release func(), err error) {
	n := a.list.table.fresh(changes)
	if n == 0 {
		return func() {}, nil
	}
	if !a.list.reserve(n, a.MaxBans) {
		a.list.sweepForRoom()
		if !a.list.reserve(n, a.MaxBans) {
			overLimit().Add(float64(n))
			return nil, fmt.Errorf("%w: max_bans is %d", ErrFull, a.MaxBans)
		}
	}
	return func() { a.list.unreserve(n) }, nil
}
