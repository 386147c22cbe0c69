// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"net/netip"
	"sync"
	"time"
)

// maxDry bounds the list of what would be banned.
const maxDry = 100_000

// dryList is what rules that only try would have banned, with a history of its own: in a dry run, too, the second ban of a
// client is longer than the first. It is of this process.
type dryList struct {
	table   table
	history history
	mu      sync.Mutex // serializes impose
}

// impose is list.impose for a ban that is only listed.
func (l *dryList) impose(addr netip.Addr, client netip.Prefix, make func(past) Ban) (b Ban, made bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, _, banned := l.table.find(addr); banned {
		return Ban{}, false
	}
	now := time.Now()
	b = make(l.history.of(client, now))
	changes := []Change{{Ban: b}}
	if l.table.apply(changes, maxDry) > 0 {
		return Ban{}, false
	}
	l.history.note(changes, now, maxDry)
	return b, true
}
