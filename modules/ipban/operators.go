// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// maxOperators bounds the addresses of operators that are remembered.
	maxOperators = 64
	// operatorMemory is how long one is, since it last asked the admin endpoint.
	operatorMemory = 24 * time.Hour
)

// operators is who asks the admin endpoint about bans: a rule that bans them would lock out whoever can undo it.
type operators struct {
	mu   sync.Mutex
	seen map[netip.Addr]time.Time
}

// saw notes an operator's address.
func (o *operators) saw(addr netip.Addr, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen == nil {
		o.seen = map[netip.Addr]time.Time{}
	}
	o.seen[addr] = now
	if len(o.seen) <= maxOperators {
		return
	}
	oldest := addr
	for other, at := range o.seen {
		if at.Before(o.seen[oldest]) {
			oldest = other
		}
	}
	delete(o.seen, oldest)
}

// include reports whether an operator's address is in the prefix.
func (o *operators) include(client netip.Prefix, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for addr, at := range o.seen {
		if client.Contains(addr) && now.Sub(at) < operatorMemory {
			return true
		}
	}
	return false
}
