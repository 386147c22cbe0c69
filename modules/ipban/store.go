// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"context"
	"net/netip"
	"time"
)

// Namespace is where stores are registered.
const Namespace = "gatehouse.ban_stores"

// Store keeps the list of bans and tells every process that follows it what changes. It is no part of a request's way:
// each process looks addresses up in a table of its own, which the store feeds.
//
// The host calls Put from any number of goroutines at once, and Follow from one goroutine a config. During a reload two
// configs may follow one list. Both methods are first called after the store's Provision; Put may still come, from
// requests that are being finished, after Follow has returned.
//
// Package ipbantest holds the tests that every implementation must pass.
type Store interface {
	// Put records changes, in their order, so that they outlive this process where the store can do that, and returns
	// the position of the last one. On an error any part of them may have been recorded; putting them again is safe.
	// It returns soon after ctx ends; the host gives it 5 s, and 55 us more for each change. It must not keep the slice.
	Put(ctx context.Context, changes []Change) (position uint64, err error)

	// Follow calls apply with the whole list, then with each later change, until ctx ends or the feed breaks; it then
	// returns, promptly and for good: apply is never called after. The host calls again after a pause of 0.1 s to
	// 2 s, and keeps the list it has until then.
	//
	// apply is called from one goroutine at a time. It may take 10 ms, or longer for a large list; a store that has
	// further changes by then hands them over in one Update. It must not be called with a lock held that Put needs.
	Follow(ctx context.Context, apply func(Update)) error
}

// Update is one step of a feed.
type Update struct {
	// Reset says that with Changes the whole list begins, none of them a lift. What is not in it is not banned any more.
	// The first update of each Follow has it set.
	Reset bool
	// More says that the list goes on in the next update, which has no Reset, as a store delivers a list that is too long
	// to be held at once. The host keeps to the list that it has until the one without More; Position counts there only.
	More bool
	// Changes are in the order in which they were put: a later one replaces an earlier one for the same prefix.
	// The slice belongs to the host from then on.
	Changes []Change
	// Position is how far the feed has come: every change whose Put returned this position or a lower one has been
	// handed over. It never falls, save by a Reset after the store lost its data.
	Position uint64
}

// Change bans a prefix, replacing an earlier ban of the same prefix, or lifts its ban.
type Change struct {
	Ban
	// Lift ends the ban of exactly Prefix; the other fields mean nothing then. Lifting what is not banned is no error.
	Lift bool `json:"lift,omitempty"`
}

// Ban is one entry of the list. The host hands it to Put in the form described here.
type Ban struct {
	// Prefix is what is banned: a valid, masked prefix without zone, IPv4 as IPv4. One address is a prefix of full length.
	Prefix netip.Prefix `json:"prefix"`
	// Reason is for people: valid UTF-8 of at most 256 bytes without control characters. It may be empty.
	Reason string `json:"reason,omitempty"`
	// Source says where the ban comes from: "manual", "import", or the name of a policy. It is text like Reason.
	Source string `json:"source,omitempty"`
	// Created is when the ban was made, in UTC and whole milliseconds.
	Created time.Time `json:"created"`
	// Expires is when the ban ends, in UTC and whole milliseconds; zero is never.
	Expires time.Time `json:"expires,omitzero"`
	// Level is which ban of a client in a row this is, where bans escalate; 0 where they do not.
	Level int `json:"level,omitempty"`
	// Remembered is until when the ban counts as an earlier one of the client's, in UTC and whole milliseconds; zero is no
	// longer than it is in force.
	Remembered time.Time `json:"remembered,omitzero"`
}

// Forgettable is from when on a store may forget the ban: it is over, and counts for nothing. Zero is never.
func (b Ban) Forgettable() time.Time {
	if b.Expires.IsZero() || b.Expires.After(b.Remembered) {
		return b.Expires
	}
	return b.Remembered
}
