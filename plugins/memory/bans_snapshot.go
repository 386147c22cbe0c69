// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
)

const (
	// snapshotKey is where the snapshot lies in Caddy's storage; one that cannot be read is kept beside it.
	snapshotKey = "gatehouse/bans/memory"
	damagedKey  = snapshotKey + ".damaged"
	// savePause is the least time from a change to its being written, so that many changes are written at once. It
	// grows to ten times what the last writing took, so that a long list costs a tenth of a core at most.
	savePause = time.Second
	// saveTimeout bounds one writing.
	saveTimeout = 5 * time.Second
)

// snapshot is what the list knows of its copy in Caddy's storage.
type snapshot struct {
	changed chan struct{} // holds a token while the list has changes that no snapshot has

	mu      sync.Mutex        // held while reading or writing; taken before banList.mu
	storage certmagic.Storage // of the config that began to follow last; nil until one does
	loaded  bool
	saved   uint64 // the position that storage has
}

// load reads the snapshot into the list the first time it is called. A damaged one is logged, kept aside and ignored;
// only a storage that does not answer is an error. Later, as after a reload, which may have brought another storage, it has
// the list written there.
func (l *banList) load(ctx context.Context, storage certmagic.Storage, logger *zap.Logger) error {
	s := &l.snapshot
	s.mu.Lock()
	defer s.mu.Unlock()
	s.storage = storage
	if s.loaded {
		s.saved = 0
		signal(s.changed)
		return nil
	}
	text, err := storage.Load(ctx, snapshotKey)
	if errors.Is(err, fs.ErrNotExist) {
		s.loaded = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the snapshot of bans from Caddy's storage: %w", err)
	}
	bans, err := decodeSnapshot(text)
	if err != nil {
		logger.Error("the snapshot of bans is damaged: starting with an empty list",
			zap.Error(err), zap.String("key", snapshotKey), zap.String("kept_as", damagedKey))
		if err := storage.Store(ctx, damagedKey, text); err != nil {
			return fmt.Errorf("keeping the damaged snapshot aside: %w", err)
		}
	}
	s.saved = l.restore(bans)
	s.loaded = true
	return nil
}

// restore adds the bans of a snapshot, save those that expired meanwhile or were changed since the process began.
// It returns the position that the snapshot stands for.
func (l *banList) restore(bans []ipban.Ban) (position uint64) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.position++
	if len(l.bans) == 0 { // nothing was put meanwhile, so the snapshot has it all
		position = l.position
	}
	for _, b := range bans {
		if _, newer := l.bans[b.Prefix]; !newer && !expired(b, now) {
			l.bans[b.Prefix] = b
		}
	}
	return position
}

// expired reports whether a ban is over and counts for nothing.
func expired(b ipban.Ban, now time.Time) bool {
	end := b.Forgettable()
	return !end.IsZero() && !end.After(now)
}

// keepSaved writes the snapshot some time after each change until ctx ends, and then once more.
func (l *banList) keepSaved(ctx context.Context, logger *zap.Logger) {
	for pause := savePause; ctx.Err() == nil; {
		select {
		case <-ctx.Done():
			continue
		case <-l.snapshot.changed:
		}
		select {
		case <-ctx.Done():
			continue
		case <-time.After(pause):
		}
		began := time.Now()
		if err := l.save(); err != nil {
			logger.Error("writing the snapshot of bans; trying again", zap.Error(err))
			signal(l.snapshot.changed)
		}
		pause = max(savePause, 10*time.Since(began))
	}
	if err := l.save(); err != nil {
		logger.Error("writing the last snapshot of bans", zap.Error(err))
	}
}

// save writes the snapshot if the list has changed since the last one, and forgets expired bans.
func (l *banList) save() error {
	s := &l.snapshot
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loaded || l.at() == s.saved { // before it is loaded, writing would destroy it
		return nil
	}
	bans, position := l.inForce()
	// Not the context of who asks: the last snapshot is written when that one has ended.
	ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
	defer cancel()
	if err := s.storage.Store(ctx, snapshotKey, encodeSnapshot(bans)); err != nil {
		return err
	}
	s.saved = position
	return nil
}

// at returns the list's position.
func (l *banList) at() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.position
}

// inForce returns the bans that are in force or still count, and has the list forget the others. Where those that only count are
// too many, any of them go.
func (l *banList) inForce() ([]ipban.Ban, uint64) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	bans, over := make([]ipban.Ban, 0, len(l.bans)), 0
	for prefix, b := range l.bans {
		ended := !b.Expires.IsZero() && !b.Expires.After(now)
		if expired(b, now) || ended && over == l.remembered {
			delete(l.bans, prefix)
			continue
		}
		if ended {
			over++
		}
		bans = append(bans, b)
	}
	return bans, l.position
}

// Destruct implements caddy.Destructor: it writes what was put after the last config stopped following.
func (l *banList) Destruct() error {
	if err := l.save(); err != nil {
		return fmt.Errorf("writing the last snapshot of bans: %w", err)
	}
	return nil
}
