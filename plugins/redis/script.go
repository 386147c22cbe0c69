// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/sha1" // #nosec G505 -- Redis names scripts by SHA-1
	"encoding/hex"

	goredis "github.com/redis/go-redis/v9"
)

// Script is a Lua script that runs atomically on the server. It is immutable and safe for concurrent use.
type Script struct {
	source, sha string
}

// NewScript makes a script of its source. Nothing is sent: a server learns a script when it first runs it.
func NewScript(source string) *Script {
	sum := sha1.Sum([]byte(source)) // #nosec G401 -- as above
	return &Script{source: source, sha: hex.EncodeToString(sum[:])}
}

// Run runs the script on the server that holds its keys. Every key it touches is in keys, and in a cluster all of them have
// one hash tag. A server that does not know the script, because it was restarted, replaced or flushed, is sent the source
// instead; both attempts together take no longer than the client's timeout.
//
// Errors are as for Do.
func (c *Client) Run(ctx context.Context, s *Script, keys []string, args ...any) (*goredis.Cmd, error) {
	return c.run(ctx, s, keys, args, (*passage).do)
}

// sender is a way of one command to the server and of its answer back.
type sender func(*passage, *goredis.Cmd) (*goredis.Cmd, error)

func (c *Client) run(ctx context.Context, s *Script, keys []string, args []any, send sender) (*goredis.Cmd, error) {
	admitted, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	p := admitted // which the heap gets, and only what is admitted
	cmd, err := send(&p, s.command(ctx, "evalsha", s.sha, keys, args))
	if goredis.HasErrorPrefix(err, "NOSCRIPT") {
		cmd, err = send(&p, s.command(ctx, "eval", s.source, keys, args))
	}
	return p.finish(cmd, err)
}

func (s *Script) command(ctx context.Context, name, script string, keys []string, args []any) *goredis.Cmd {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, name, script, len(keys))
	for _, key := range keys {
		all = append(all, key)
	}
	cmd := goredis.NewCmd(ctx, append(all, args...)...)
	if len(keys) > 0 {
		cmd.SetFirstKeyPos(3) // by which a cluster finds the server
	}
	return cmd
}
