// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/respcache"
)

const (
	// purgeJournal is how many purges are kept for those who follow; who falls further behind purges everything.
	purgeJournal = 100_000
	// purgeBatch bounds the purges of one script call, and of one read.
	purgeBatch = 500
	// purgeBlock is how long one read waits for a purge. It bounds how long Follow runs on after its context's end.
	purgeBlock = 100 * time.Millisecond
)

var (
	//go:embed purges_send.lua
	sendPurgesSource string
	sendPurges       = NewScript(sendPurgesSource)
)

func init() { caddy.RegisterModule(PurgeFeed{}) }

// PurgeFeed carries purges of the response cache through Redis to every proxy with the same key prefix. They stand in a
// stream, in which each follower waits for the next one: one that was away reads what it missed, and one that was away for
// too long, or finds that Redis has lost the stream, purges everything.
type PurgeFeed struct {
	// Client is the name of the client in the `redis` app. Default: the client without a name.
	Client string `json:"client,omitempty"`

	client *Client
	stream string
}

// CaddyModule returns the Caddy module information.
func (PurgeFeed) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: respcache.FeedNamespace + ".redis", New: func() caddy.Module { return new(PurgeFeed) }}
}

// UnmarshalCaddyfile reads the feed's options. Syntax:
//
//	purge_feed redis [<client>]
func (f *PurgeFeed) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := parseGuest(d, "purge_feed redis", &f.Client); err != nil {
		return err
	}
	return directive.NoBlock(d)
}

// Provision finds the client. It dials nothing.
func (f *PurgeFeed) Provision(ctx caddy.Context) error {
	client, err := clientFor(ctx, f.Client, "the purge feed")
	if err != nil {
		return err
	}
	f.open(client)
	return nil
}

func (f *PurgeFeed) open(client *Client) {
	f.client, f.stream = client, client.Key("{purges}", "stream")
}

// Send implements respcache.Feed.
func (f *PurgeFeed) Send(ctx context.Context, purges []respcache.Purge) error {
	for len(purges) > 0 {
		n := min(len(purges), purgeBatch)
		args := []any{purgeJournal}
		for _, p := range purges[:n] {
			record, err := json.Marshal(p)
			if err != nil {
				return err
			}
			args = append(args, record)
		}
		if _, err := f.client.Run(ctx, sendPurges, []string{f.stream}, args...); err != nil {
			return fmt.Errorf("recording purges in redis: %w", err)
		}
		purges = purges[n:]
	}
	return nil
}

// Follow implements respcache.Feed. A position is the number of a purge.
func (f *PurgeFeed) Follow(ctx context.Context, position string, apply func([]respcache.Purge, string)) error {
	universal, err := f.client.Universal()
	if err != nil {
		return err
	}
	last, err := f.last(ctx, universal)
	if err != nil {
		return err
	}
	at, err := strconv.ParseUint(position, 10, 64)
	if err != nil { // the first call: from now on
		at = last
		apply(nil, strconv.FormatUint(at, 10))
	}
	for {
		purges, next, err := f.next(ctx, universal, at)
		if err != nil {
			return err
		}
		if next != at || position != "" { // the first time it tells that the feed is up
			apply(purges, strconv.FormatUint(next, 10))
		}
		at, position = next, ""
	}
}

// last is the position of the latest purge, 0 if there is no stream.
func (f *PurgeFeed) last(ctx context.Context, universal goredis.UniversalClient) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, f.client.Timeout())
	defer cancel()
	newest, err := universal.XRevRangeN(ctx, f.stream, "+", "-", 1).Result()
	if err != nil || len(newest) == 0 {
		return 0, wrapPurges("reading the latest purge", err)
	}
	return banPosition(newest[0].ID)
}

// next waits a moment for purges after a position. Where some are missing, a purge of everything stands for them.
func (f *PurgeFeed) next(ctx context.Context, universal goredis.UniversalClient, at uint64) ([]respcache.Purge, uint64, error) {
	streams, err := f.read(ctx, universal, at)
	if errors.Is(err, goredis.Nil) {
		if err := ctx.Err(); err != nil {
			return nil, at, err
		}
		return f.missed(ctx, universal, at)
	}
	if err != nil || len(streams) == 0 {
		return nil, at, wrapPurges("waiting for purges", err)
	}
	var purges []respcache.Purge
	for _, message := range streams[0].Messages {
		n, err := banPosition(message.ID)
		if err != nil {
			return nil, at, err
		}
		if n != at+1 && at != 0 { // 0 is before any stream: the first purge has any number
			purges = append(purges, respcache.Purge{Kind: respcache.PurgeAll})
		}
		var p respcache.Purge
		record, _ := message.Values["purge"].(string)
		if err := json.Unmarshal([]byte(record), &p); err != nil {
			p = respcache.Purge{Kind: respcache.PurgeAll} // of a newer release: it meant something
		}
		purges, at = append(purges, p), n
	}
	return purges, at, nil
}

// missed finds that the stream is not what it was: emptied, or lost and made anew.
func (f *PurgeFeed) missed(ctx context.Context, universal goredis.UniversalClient, at uint64) ([]respcache.Purge, uint64, error) {
	last, err := f.last(ctx, universal)
	if err != nil || last >= at {
		return nil, at, err
	}
	return []respcache.Purge{{Kind: respcache.PurgeAll}}, last, nil
}

func (f *PurgeFeed) read(ctx context.Context, universal goredis.UniversalClient, at uint64) ([]goredis.XStream, error) {
	ctx, cancel := context.WithTimeout(ctx, purgeBlock+f.client.Timeout())
	defer cancel()
	return universal.XRead(ctx, &goredis.XReadArgs{
		Streams: []string{f.stream, strconv.FormatUint(at, 10) + "-0"}, Count: purgeBatch, Block: purgeBlock,
	}).Result()
}

func wrapPurges(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*PurgeFeed)(nil)
	_ caddyfile.Unmarshaler = (*PurgeFeed)(nil)
	_ respcache.Feed        = (*PurgeFeed)(nil)
)
