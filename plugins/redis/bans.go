// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
)

const (
	// banJournal is how many changes are kept for those who follow; who falls further behind reads the whole list.
	banJournal = 100_000
	// banGrace is how long a ban is kept that may be forgotten, for proxies whose clock is behind.
	banGrace = time.Minute
	// banForget bounds how many ended bans one put forgets, so that it stays short.
	banForget = 100
	// banBatch bounds the changes of one script call: Redis does nothing else meanwhile.
	banBatch = 500
	// banPage is about how many bans, or changes, are read at once.
	banPage = 5000
	// banBlock is how long one read waits for a change. It bounds how long Follow runs on after its context's end.
	banBlock = 100 * time.Millisecond
)

var (
	//go:embed bans_put.lua
	putBansSource string
	putBans       = NewScript(putBansSource)
)

// Errors that end a feed; the host follows again and gets the whole list.
var (
	errBansTrimmed = errors.New("fell so far behind that changes are no longer kept")
	errBansLost    = errors.New("redis lost changes that it had")
)

func init() { caddy.RegisterModule(BanStore{}) }

// BanStore shares the list of bans through Redis: what one proxy bans holds on all that follow, and one that starts late
// reads the whole list. Changes stand in a stream too, in which each follower waits for the next one, so a message that is
// lost is read a moment later. While Redis is away every proxy keeps the list it has, and changes are refused.
//
// All bans of a key prefix are one list, in three keys that share a hash tag, as a cluster needs.
type BanStore struct {
	// Client is the name of the client in the `redis` app. Default: the client without a name.
	Client string `json:"client,omitempty"`

	client *Client
	keys   []string // the list, the stream of changes, the ends: as the script takes them
}

// CaddyModule returns the Caddy module information.
func (BanStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: ipban.Namespace + ".redis", New: func() caddy.Module { return new(BanStore) }}
}

// UnmarshalCaddyfile reads the store's options. Syntax:
//
//	store redis [<client>]
func (s *BanStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := parseGuest(d, "store redis", &s.Client); err != nil {
		return err
	}
	return directive.NoBlock(d)
}

// Provision finds the client. It dials nothing.
func (s *BanStore) Provision(ctx caddy.Context) error {
	var err error
	if s.client, err = clientFor(ctx, s.Client, "the store of bans"); err != nil {
		return err
	}
	s.keys = []string{s.client.Key("{bans}", "list"), s.client.Key("{bans}", "changes"), s.client.Key("{bans}", "ends")}
	return nil
}

// Put implements ipban.Store. A long list of changes is recorded in several steps.
func (s *BanStore) Put(ctx context.Context, changes []ipban.Change) (position uint64, err error) {
	for first := true; first || len(changes) > 0; first = false {
		n := min(len(changes), banBatch)
		if position, err = s.put(ctx, changes[:n]); err != nil {
			return 0, fmt.Errorf("recording bans in redis: %w", err)
		}
		changes = changes[n:]
	}
	return position, nil
}

func (s *BanStore) put(ctx context.Context, changes []ipban.Change) (uint64, error) {
	args := []any{banJournal, banGrace.Milliseconds(), banForget}
	for _, change := range changes {
		args = append(args, change.Prefix.String(), ends(change), writeBan(change))
	}
	cmd, err := s.client.Run(ctx, putBans, s.keys, args...)
	if err != nil {
		return 0, err
	}
	return cmd.Uint64()
}

// ends is from when on a change's ban may be forgotten, as the script reads it.
func ends(change ipban.Change) int64 {
	switch end := change.Forgettable(); {
	case change.Lift:
		return -1
	case end.IsZero():
		return 0
	default:
		return end.UnixMilli()
	}
}

// Follow implements ipban.Store.
func (s *BanStore) Follow(ctx context.Context, apply func(ipban.Update)) error {
	universal, err := s.client.Universal()
	if err != nil {
		return err
	}
	// The position is read before the list, and changes in between are handed over again: each replaces the same prefix.
	position, err := s.last(ctx, universal)
	if err != nil {
		return err
	}
	if err := s.list(ctx, universal, position, apply); err != nil {
		return err
	}
	for update := (ipban.Update{Position: position}); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if update, err = s.next(ctx, universal, update.Position); err != nil {
			return err
		}
		if len(update.Changes) > 0 {
			apply(update)
		}
	}
}

// last is the position of the latest change.
func (s *BanStore) last(ctx context.Context, universal goredis.UniversalClient) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.client.Timeout())
	defer cancel()
	newest, err := universal.XRevRangeN(ctx, s.keys[1], "+", "-", 1).Result()
	if err != nil || len(newest) == 0 {
		return 0, wrapBans("reading the latest change", err)
	}
	return banPosition(newest[0].ID)
}

// list hands the whole list over, page by page: of a list that is longer than the host wants, no more than three pages are
// ever held here.
func (s *BanStore) list(ctx context.Context, universal goredis.UniversalClient, position uint64, apply func(ipban.Update)) error {
	ctx, cancel := context.WithCancel(ctx)
	pages := s.pages(ctx, universal)
	defer func() {
		cancel()
		for range pages { // until the reader has ended
		}
	}()
	update := ipban.Update{Reset: true, Position: position}
	for p := range pages {
		changes, err := readBans(p.records)
		if err = errors.Join(wrapBans("reading the list", p.err), err, ctx.Err()); err != nil {
			return err
		}
		update.Changes, update.More = changes, p.more
		apply(update)
		update.Reset = false
	}
	return ctx.Err()
}

// page is a part of the list: a prefix, its record, the next prefix, its record, and so on; more says that it is not the last.
type page struct {
	records []string
	more    bool
	err     error
}

// pages reads the list, a page ahead of who takes them, until it ends, or ctx does, or reading fails.
func (s *BanStore) pages(ctx context.Context, universal goredis.UniversalClient) <-chan page {
	pages := make(chan page, 1)
	go func() {
		defer close(pages)
		p := page{more: true}
		for cursor := uint64(0); p.more && p.err == nil; {
			p.records, cursor, p.err = s.scan(ctx, universal, cursor)
			p.more = cursor != 0
			select {
			case pages <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	return pages
}

func (s *BanStore) scan(ctx context.Context, universal goredis.UniversalClient, cursor uint64) ([]string, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.client.Timeout())
	defer cancel()
	return universal.HScan(ctx, s.keys[0], cursor, "", banPage).Result()
}

// readBans decodes a page.
func readBans(records []string) ([]ipban.Change, error) {
	changes := make([]ipban.Change, 0, len(records)/2)
	for i := 1; i < len(records); i += 2 {
		change, err := readBan(records[i])
		if err != nil {
			return nil, err
		}
		changes = append(changes, change)
	}
	return changes, nil
}

// next waits a moment for changes after a position. An update without any has the same position.
func (s *BanStore) next(ctx context.Context, universal goredis.UniversalClient, position uint64) (ipban.Update, error) {
	update := ipban.Update{Position: position}
	streams, err := s.read(ctx, universal, position)
	if errors.Is(err, goredis.Nil) {
		last, err := s.last(ctx, universal)
		if err == nil && last < position {
			err = errBansLost
		}
		return update, err
	}
	if err != nil || len(streams) == 0 {
		return update, wrapBans("waiting for changes", err)
	}
	for _, message := range streams[0].Messages {
		at, err := banPosition(message.ID)
		if err != nil {
			return update, err
		}
		if at != update.Position+1 && update.Position != 0 { // 0 is before any stream: the first change has any number
			return update, errBansTrimmed
		}
		record, _ := message.Values["change"].(string)
		change, err := readBan(record)
		if err != nil {
			return update, err
		}
		update.Changes, update.Position = append(update.Changes, change), at
	}
	return update, nil
}

func (s *BanStore) read(ctx context.Context, universal goredis.UniversalClient, position uint64) ([]goredis.XStream, error) {
	ctx, cancel := context.WithTimeout(ctx, banBlock+s.client.Timeout())
	defer cancel()
	return universal.XRead(ctx, &goredis.XReadArgs{
		Streams: []string{s.keys[1], strconv.FormatUint(position, 10) + "-0"}, Count: banPage, Block: banBlock,
	}).Result()
}

// banPosition takes the number out of a stream's ID, "17-0".
func banPosition(id string) (uint64, error) {
	number, _, _ := strings.Cut(id, "-")
	position, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("redis holds a change with the ID %q, which is none of ours", id)
	}
	return position, nil
}

// liftMark begins the record of a lift, which is the prefix.
const liftMark = "-"

// writeBan makes a change a record: a line of text.
func writeBan(change ipban.Change) []byte {
	if change.Lift {
		return change.Prefix.AppendTo([]byte(liftMark))
	}
	return change.AppendLine(nil)
}

// readBan decodes a record. What is not one of ours ends the feed: a list with holes must not pass for the list.
func readBan(record string) (change ipban.Change, err error) {
	var prefix string
	if prefix, change.Lift = strings.CutPrefix(record, liftMark); change.Lift {
		change.Prefix, err = ipban.ParsePrefix(prefix)
	} else {
		change.Ban, err = ipban.ParseLine(record)
	}
	if err != nil {
		return change, fmt.Errorf("redis holds a ban that is none of ours: %w", err)
	}
	return change, nil
}

func wrapBans(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s of bans: %w", what, err)
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*BanStore)(nil)
	_ caddyfile.Unmarshaler = (*BanStore)(nil)
	_ ipban.Store           = (*BanStore)(nil)
)
