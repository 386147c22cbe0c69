// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	// passFor is how long it is remembered that an answer could not be shared: until then requests do not wait for one
	// another in vain. Each such answer begins it anew, and one that can be stored ends it.
	passFor = 2 * time.Minute
	// maxPasses bounds what is remembered. A forgotten key costs some requests a wait.
	maxPasses = 64 << 10
)

// passes remembers keys whose answer could not be shared: hit-for-miss. It holds hashes, as clients choose the keys and how long
// they are; two keys with one hash cost some requests to the upstream.
type passes struct {
	mu    sync.RWMutex
	until map[uint64]time.Time
}

// passID is what a request is remembered by. Requests with credentials are apart: their answers often cannot be shared where those
// to others can, and who makes up credentials must not take collapsing from everybody.
func (c *cache) passID(q *query) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	_, _ = h.WriteString(q.key)
	if len(q.header["Authorization"])+len(q.header["Cookie"]) > 0 {
		_ = h.WriteByte(keySeparator[0])
	}
	if q.part != "" { // a whole that is too large may have parts that are not
		_, _ = h.WriteString("bytes")
	}
	return h.Sum64()
}

func (p *passes) has(id uint64) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	until, ok := p.until[id]
	return ok && time.Now().Before(until)
}

func (p *passes) add(id uint64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until == nil {
		p.until = map[uint64]time.Time{}
	}
	if len(p.until) >= maxPasses {
		p.shrink(now)
	}
	p.until[id] = now.Add(passFor)
}

// shrink removes what is over, or a tenth if nothing is. The caller holds mu.
func (p *passes) shrink(now time.Time) {
	for id, until := range p.until {
		if now.After(until) {
			delete(p.until, id)
		}
	}
	for id := range p.until {
		if len(p.until) < maxPasses-maxPasses/10 {
			return
		}
		delete(p.until, id)
	}
}

func (p *passes) remove(id uint64) {
	p.mu.RLock()
	_, ok := p.until[id]
	p.mu.RUnlock()
	if ok {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.until, id)
	}
}

func (p *passes) count() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.until)
}
