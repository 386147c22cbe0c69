// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

const (
	// lotLife is how long what was leased may be spent here; what is left is given back then.
	lotLife = 500 * time.Millisecond
	// lotBrisk is how soon a lot must be spent for the next one to be larger.
	lotBrisk = 400 * time.Millisecond
	// lotDenied is how long a refusal is remembered at most, so that a reset is noticed soon.
	lotDenied = 500 * time.Millisecond
	// lotIdle is after how long a key is forgotten here.
	lotIdle = 2 * time.Second
	// maxLots bounds how many keys of a policy are kept here; others are asked for in Redis, request by request.
	maxLots = 100_000
	// lotShards is how many maps share the keys, each with its lock.
	lotShards = 256
)

// lots spend here what was leased in Redis. A lease counts in Redis from the moment it is taken, so the counts there are never
// too low; the limit can be exceeded only by what is leased earlier and spent later, which the overshoot bounds.
type lots struct {
	*limitCounters
	overshoot float64
	seed      maphash.Seed
	shards    [lotShards]lotShard
}

type lotShard struct {
	mu   sync.Mutex // guards lots
	lots map[string]*lot
	_    [48]byte
}

// lot is what is known here of one key.
type lot struct {
	mu       sync.Mutex // guards the rest
	tokens   int64      // leased and not spent
	taken    time.Time  // when the lease was taken
	expires  time.Time
	spent    int64         // of this lease
	size     int64         // how much to lease next
	fetching chan struct{} // closed when the lease that somebody asks for is there; nil if nobody does
	denied   time.Time     // until when a cost of deniedCost or more is refused here
	lowest   int64         // the least cost that was refused
	last     window.Result // of the lease, or of the refusal, at the time known
	known    time.Time
	used     time.Time // when it was last asked for
	ask      reqlimit.Ask
}

func newLots(counters *limitCounters, overshoot float64) *lots {
	l := &lots{limitCounters: counters, overshoot: overshoot, seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].lots = map[string]*lot{}
	}
	return l
}

// find returns the key's lot, or nil if there are too many.
func (l *lots) find(ask *reqlimit.Ask) *lot {
	var space [400]byte
	key := binary.LittleEndian.AppendUint64(append(space[:0], ask.Key...), ask.Rule.Shape)
	for _, w := range ask.Rule.Windows { // what is leased under a high limit is not for who has a low one
		key = binary.LittleEndian.AppendUint64(key, uint64(w.Limit))
	}
	s := &l.shards[maphash.Bytes(l.seed, key)%lotShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.lots[string(key)]
	if k == nil && len(s.lots) < maxLots/lotShards {
		k = &lot{size: 1, ask: reqlimit.Ask{Key: slices.Clone(ask.Key)}}
		s.lots[string(key)] = k
	}
	return k
}

// Take implements reqlimit.Counters.
func (l *lots) Take(ctx context.Context, ask *reqlimit.Ask, result *window.Result) error {
	k := l.find(ask)
	if k == nil || ask.Cost == 0 {
		return l.limitCounters.Take(ctx, ask, result)
	}
	for {
		k.mu.Lock()
		now := time.Now()
		k.used, k.ask.Rule = now, ask.Rule
		switch {
		case k.tokens >= ask.Cost && now.Before(k.expires):
			k.spend(now, ask.Cost, result)
			k.mu.Unlock()
			return nil
		case now.Before(k.denied) && ask.Cost >= k.lowest:
			k.refuse(now, result)
			k.mu.Unlock()
			return nil
		case k.fetching != nil:
			wait := k.fetching
			k.mu.Unlock()
			select {
			case <-wait:
			case <-ctx.Done():
				return ctx.Err()
			}
		default:
			back, low, high := l.plan(k, now, ask)
			k.fetching = make(chan struct{})
			k.mu.Unlock()
			if done, err := l.fetch(ctx, k, ask, back, low, high, result); done || err != nil {
				return err
			}
		}
	}
}

// spend spends what was leased.
func (k *lot) spend(now time.Time, cost int64, result *window.Result) {
	k.tokens -= cost
	k.spent += cost
	*result = k.last
	result.Allowed, result.Violated, result.Retry = true, -1, 0
	k.age(now, result)
	for i := range result.States[:len(k.ask.Rule.Windows)] {
		result.States[i].Remaining += k.tokens
	}
}

// refuse repeats a refusal.
func (k *lot) refuse(now time.Time, result *window.Result) {
	*result = k.last
	k.age(now, result)
}

// age brings what was known up to now.
func (k *lot) age(now time.Time, result *window.Result) {
	passed := now.Sub(k.known)
	if result.Retry != window.Never {
		result.Retry = max(result.Retry-passed, 0)
	}
	for i := range result.States[:len(k.ask.Rule.Windows)] {
		result.States[i].Reset = max(result.States[i].Reset-passed, 0)
	}
}

// plan decides how much to lease, and what is to be given back before. A lot that was soon spent makes the next one twice as
// large; one that was not, as large as what was spent of it. The caller holds k.mu.
func (l *lots) plan(k *lot, now time.Time, ask *reqlimit.Ask) (back, low, high int64) {
	switch {
	case k.taken.IsZero() || now.Before(k.denied.Add(lotLife)): // the first, or the limit is what bounds it
	case now.Sub(k.taken) < lotBrisk:
		k.size *= 2
	default:
		k.size = k.spent
	}
	k.size = max(min(k.size, l.most(ask.Rule)), 1)
	if !now.Before(k.expires) {
		back, k.tokens = k.tokens, 0
	}
	low = ask.Cost - k.tokens
	return back, low, max(low, k.size)
}

// most is how much of a rule one proxy may lease at once: its part of the overshoot.
func (l *lots) most(rule *window.Rule) int64 {
	proxies := l.Proxies()
	if proxies == 0 { // not known yet
		return 1
	}
	most := int64(window.MaxLimit)
	for _, w := range rule.Windows {
		most = min(most, int64(l.overshoot*float64(w.Capacity())/float64(proxies)))
	}
	return most
}

// fetch leases. It reports whether the request is decided; else it tries again with what is there now.
func (l *lots) fetch(ctx context.Context, k *lot, ask *reqlimit.Ask, back, low, high int64, result *window.Result) (bool, error) {
	if back > 0 {
		k.mu.Lock()
		receipt := k.last.Receipt
		k.mu.Unlock()
		given := reqlimit.Ask{Key: ask.Key, Rule: ask.Rule, Cost: back}
		// If Redis is away, the lease below fails, too, and what is not given back counts until its window is over.
		_ = l.limitCounters.Give(ctx, &given, &receipt)
	}
	granted, err := l.grant(ctx, ask, low, high, result)
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.fetching)
	k.fetching = nil
	if err != nil {
		return false, err
	}
	now := time.Now()
	k.last, k.known = *result, now
	if granted < 0 {
		k.denied, k.lowest = now.Add(min(result.Retry, lotDenied)), ask.Cost
		return true, nil
	}
	k.tokens += granted
	k.taken, k.expires, k.spent = now, now.Add(lotLife), 0
	k.spend(now, ask.Cost, result)
	return true, nil
}

// Give implements reqlimit.Counters: what was leased and is given back in time can be spent again here.
func (l *lots) Give(ctx context.Context, ask *reqlimit.Ask, receipt *window.Receipt) error {
	if k := l.find(ask); k != nil {
		k.mu.Lock()
		if k.last.Receipt == *receipt && time.Now().Before(k.expires) {
			k.tokens += ask.Cost
			k.spent -= ask.Cost
			k.mu.Unlock()
			return nil
		}
		k.mu.Unlock()
	}
	return l.limitCounters.Give(ctx, ask, receipt)
}

// Reset implements reqlimit.Counters. What other proxies have leased stays with them.
func (l *lots) Reset(ctx context.Context, ask *reqlimit.Ask) error {
	if err := l.limitCounters.Reset(ctx, ask); err != nil {
		return err
	}
	if k := l.find(ask); k != nil {
		k.mu.Lock()
		k.tokens, k.denied = 0, time.Time{}
		k.mu.Unlock()
	}
	return nil
}

// tick gives back what has expired, and forgets keys that nobody asks for.
func (l *lots) tick(ctx context.Context) { l.collect(ctx, time.Now(), false) }

// end gives everything back.
func (l *lots) end(ctx context.Context) { l.collect(ctx, time.Now(), true) }

// unspent is something to give back.
type unspent struct {
	ask     reqlimit.Ask
	receipt window.Receipt
}

func (l *lots) collect(ctx context.Context, now time.Time, all bool) {
	var list []unspent
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for key, k := range s.lots {
			u, idle := k.expire(now, all)
			if u.ask.Cost > 0 {
				list = append(list, u)
			}
			if idle {
				delete(s.lots, key)
			}
		}
		s.mu.Unlock()
	}
	if len(list) > 0 && l.hub.client.Healthy() {
		severally(list, func(u unspent) {
			_ = l.limitCounters.Give(ctx, &u.ask, &u.receipt) // else it counts until its window is over
		})
	}
}

// expire takes out what is to be given back, and reports whether the lot can be forgotten.
func (k *lot) expire(now time.Time, all bool) (u unspent, idle bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fetching != nil {
		return u, false
	}
	if k.tokens > 0 && (all || !now.Before(k.expires)) {
		u = unspent{reqlimit.Ask{Key: k.ask.Key, Rule: k.ask.Rule, Cost: k.tokens}, k.last.Receipt}
		k.tokens, k.size = 0, max(k.spent, 1)
	}
	return u, all || now.Sub(k.used) > lotIdle && now.After(k.denied)
}
