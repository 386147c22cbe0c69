// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"sync"
	"time"
)

const (
	// passFor is how long it is remembered that an answer could not be shared: until then requests do not wait for one
	// another in vain.
	passFor = 10 * time.Second
	// maxPasses bounds what is remembered. A forgotten key costs some requests a wait.
	maxPasses = 64 << 10
)

// passes remembers keys whose answer could not be shared: hit-for-miss.
type passes struct {
	mu    sync.RWMutex
	until map[string]time.Time
}

func (p *passes) has(key string, now time.Time) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	until, ok := p.until[key]
	return ok && now.Before(until)
}

func (p *passes) add(key string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until == nil {
		p.until = map[string]time.Time{}
	}
	if len(p.until) >= maxPasses {
		p.shrink(now)
	}
	p.until[key] = now.Add(passFor)
}

// shrink removes what is over, or a tenth if nothing is. The caller holds mu.
func (p *passes) shrink(now time.Time) {
	for key, until := range p.until {
		if now.After(until) {
			delete(p.until, key)
		}
	}
	for key := range p.until {
		if len(p.until) < maxPasses-maxPasses/10 {
			return
		}
		delete(p.until, key)
	}
}

func (p *passes) remove(key string) {
	p.mu.RLock()
	_, ok := p.until[key]
	p.mu.RUnlock()
	if ok {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.until, key)
	}
}

func (p *passes) count() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.until)
}
