// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

const (
	// maxUnrecorded bounds the bans that wait for the store; those beyond are in force in this process only.
	maxUnrecorded = 100_000
	// recordBatch is how many of them are put at once.
	recordBatch = 1000
	// lastRecord is how long a feed that ends takes to hand over what waits.
	lastRecord = time.Second
)

// pending is the bans that rules made in this process and the store has not recorded yet. list.mu guards it.
type pending struct {
	bans map[netip.Prefix]Ban
	wake chan struct{} // holds a token while there may be some
}

func (p *pending) add(b Ban) (ok bool) {
	if p.bans == nil {
		p.bans = map[netip.Prefix]Ban{}
	}
	if ok = len(p.bans) < maxUnrecorded; ok {
		p.bans[b.Prefix] = b
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return ok
}

// all returns the bans that wait, as changes.
func (p *pending) all() []Change {
	changes := make([]Change, 0, len(p.bans))
	for _, b := range p.bans {
		changes = append(changes, Change{Ban: b})
	}
	return changes
}

// impose bans a client in this process at once, by a rule, and has the store told: a store that is away or slow keeps
// nobody in. make gives the ban to the client's past. It reports false if the client is banned already: of strikes that are
// counted at once, one bans.
func (l *list) impose(addr netip.Addr, client netip.Prefix, limit int, make func(past) Ban) (b Ban, made bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, _, banned := l.table.find(addr); banned {
		return Ban{}, false
	}
	now := time.Now()
	b = make(l.history.of(client, now))
	changes := []Change{{Ban: b}}
	if l.table.apply(changes, limit) > 0 {
		return Ban{}, false
	}
	l.history.note(changes, now, limit)
	if !l.pending.add(b) {
		unrecorded().Inc()
	}
	return b, true
}

// record puts changes into a store, and returns when they are in force in this process.
func (l *list) record(ctx context.Context, store Store, changes []Change) error {
	position, err := store.Put(ctx, changes)
	if err != nil {
		return fmt.Errorf("recording in the store of bans: %w", err)
	}
	if err := l.reach(ctx, position); err != nil {
		return fmt.Errorf("recorded in the store of bans, but this proxy has not heard of it from there: %w", err)
	}
	return nil
}

// cancel takes back what waits to be recorded of the prefixes that an operator changes.
func (l *list) cancel(changes []Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range changes {
		delete(l.pending.bans, c.Prefix)
	}
}

// waiting returns some of the bans that wait to be recorded, and forgets those that have become pointless.
func (l *list) waiting() []Change {
	l.mu.Lock()
	defer l.mu.Unlock()
	var batch []Change
	for prefix, b := range l.pending.bans {
		if end := b.Forgettable(); !end.IsZero() && !end.After(time.Now()) {
			delete(l.pending.bans, prefix)
			continue
		}
		if batch = append(batch, Change{Ban: b}); len(batch) == recordBatch {
			break
		}
	}
	return batch
}

// recorded drops what the store knows by now.
func (l *list) recorded(batch []Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range batch {
		if l.pending.bans[c.Prefix] == c.Ban {
			delete(l.pending.bans, c.Prefix)
		}
	}
}

// unrecorded is how many bans wait.
func (l *list) unrecorded() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending.bans)
}

// record has the feed's store record what rules ban, until ctx ends, and then what waits, in one more try.
func (f *feed) record(ctx context.Context) {
	for retry := minRetry; ; {
		batch := f.list.waiting()
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-f.list.pending.wake:
				continue
			}
		}
		err := f.put(ctx, batch)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			retry = minRetry
		default:
			pause := retry/2 + rand.N(retry/2)
			f.source.logger.Warn("bans that rules made here wait for the store; they are in force in this process",
				zap.Int("waiting", f.list.unrecorded()), zap.Error(err), zap.Duration("retry_in", pause))
			sleep(ctx, pause)
			retry = min(2*retry, maxRetry)
		}
	}
}

// put records a batch. When ctx has ended it does so without waiting to hear of it, as nothing is heard any more.
func (f *feed) put(ctx context.Context, batch []Change) error {
	if ctx.Err() != nil {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRecord)
		defer cancel()
		_, err := f.source.store.Put(last, batch)
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	err := f.list.record(ctx, f.source.store, batch)
	if err == nil {
		f.list.recorded(batch)
	}
	return err
}
