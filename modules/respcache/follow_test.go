// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// awayFeed fails until a time, and then is followed.
type awayFeed struct {
	until    time.Time
	followed time.Time
}

func (*awayFeed) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: FeedNamespace + ".away", New: func() caddy.Module { return new(awayFeed) }}
}

func (*awayFeed) Send(context.Context, []Purge) error { return nil }

func (f *awayFeed) Follow(ctx context.Context, _ string, apply func([]Purge, string)) error {
	if time.Now().Before(f.until) {
		return errors.New("away")
	}
	f.followed = time.Now()
	apply(nil, "1")
	<-ctx.Done()
	return ctx.Err()
}

// However long a feed was away, purges of other proxies hold a moment after it is back; and it is told once that it is away.
func TestAFeedThatComesBackIsFollowedAtOnce(t *testing.T) {
	for _, away := range []time.Duration{time.Second, 5 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			core, logs := observer.New(zap.WarnLevel)
			back := time.Now().Add(away)
			feed := &awayFeed{until: back}
			a := &App{feed: feed, logger: zap.New(core), ended: make(chan struct{})}
			ctx, cancel := context.WithCancel(t.Context())
			go a.follow(ctx)
			time.Sleep(away + 2*time.Second)
			synctest.Wait()
			if late := feed.followed.Sub(back); feed.followed.IsZero() || late > time.Second {
				t.Errorf("away for %v, it is followed %v later", away, late)
			}
			if n := logs.Len(); n != 1 {
				t.Errorf("away for %v, %d warnings", away, n)
			}
			cancel()
			<-a.ended
		})
	}
}
