// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"math"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/logship"
)

const (
	// logStep bounds the lines of one script call: Redis does nothing else meanwhile, some half a millisecond.
	logStep = 200
	// defaultLogLimit is about how many lines a stream holds.
	defaultLogLimit = 1_000_000
)

var (
	//go:embed logs_add.lua
	addLogsSource string
	addLogs       = NewScript(addLogsSource)
)

func init() { caddy.RegisterModule(LogSink{}) }

// LogSink adds lines to a Redis stream, an entry with the field `line` each. An entry's ID is the line's epoch and number
// (`<epoch>-<number>`), so a line that is sent again is there once. The client is looked up at each batch, as log writers are
// made before the `redis` app; it uses connections of the pool, so requests do not wait behind log lines.
type LogSink struct {
	// Client is the name of the client in the `redis` app. Default: the client without a name.
	Client string `json:"client,omitempty"`
	// Stream ends the stream's key, `<prefix>:1:logs:<stream>`. A stream that several proxies share holds all lines, but entries
	// of proxies other than the first have IDs that Redis gives. Redis 8.6 and later knows the last 10,000 lines of each of
	// them for a day; an older one may have the last batch before a crash twice. Default: the name of the node.
	Stream string `json:"stream,omitempty"`
	// MaxLen is about how many lines the stream holds: Redis gives up older ones. Default (and zero): 1,000,000; -1 is no
	// limit.
	MaxLen int `json:"max_len,omitempty"`

	args []any
	text []byte
}

// CaddyModule returns the Caddy module information.
func (LogSink) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: logship.Namespace + ".redis", New: func() caddy.Module { return new(LogSink) }}
}

// UnmarshalCaddyfile reads the sink's options. Syntax:
//
//	sink redis [<client>] {
//		stream <name>
//		max_len <n>|unlimited
//	}
func (s *LogSink) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := parseGuest(d, "sink redis", &s.Client); err != nil {
		return err
	}
	return directive.Block(d, directive.Options{
		"stream":  func() error { return directive.Arg(d, &s.Stream, directive.Word) },
		"max_len": func() error { return directive.Arg(d, &s.MaxLen, logLimit) },
	})
}

func logLimit(text string) (int, error) {
	if text == "unlimited" {
		return -1, nil
	}
	return directive.Integer(1, math.MaxInt)(text)
}

// Provision checks the options. It asks no app, as there is none yet.
func (s *LogSink) Provision(caddy.Context) error {
	if s.MaxLen < -1 {
		return fmt.Errorf("max_len: expected -1 or more, found %d", s.MaxLen)
	}
	return nil
}

// Send implements logship.Sink. It stops at the first lines that fail: none may be added before them.
func (s *LogSink) Send(ctx context.Context, batch *logship.Batch) error {
	client, ok := Lookup(cmp.Or(s.Client, DefaultName))
	if !ok {
		return fmt.Errorf("the running config has no redis client %q", cmp.Or(s.Client, DefaultName))
	}
	universal, err := client.Universal()
	if err != nil {
		return err
	}
	key := client.Key("logs", cmp.Or(s.Stream, batch.Node))
	for first := 0; first < len(batch.Lines); first += logStep {
		if err := s.add(ctx, universal, key, batch, first, min(first+logStep, len(batch.Lines))); err != nil {
			return fmt.Errorf("adding lines to the stream %s: %w", key, err)
		}
	}
	return nil
}

// add adds lines from first to end. A script whose answer was lost may be run again.
func (s *LogSink) add(ctx context.Context, universal goredis.UniversalClient, key string, batch *logship.Batch, first, end int) error {
	limit := max(cmp.Or(s.MaxLen, defaultLogLimit), 0)
	s.args = append(s.args[:0], limit, batch.Epoch, batch.Node)
	s.text = s.text[:0]
	for i := first; i < end; i++ {
		begin := len(s.text)
		s.text = batch.AppendJSON(s.text, i)
		s.args = append(s.args, batch.Lines[i].Seq, s.text[begin:])
	}
	err := universal.EvalSha(ctx, addLogs.sha, []string{key}, s.args...).Err()
	if goredis.HasErrorPrefix(err, "NOSCRIPT") {
		err = universal.Eval(ctx, addLogs.source, []string{key}, s.args...).Err()
	}
	return err
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*LogSink)(nil)
	_ caddyfile.Unmarshaler = (*LogSink)(nil)
	_ logship.Sink          = (*LogSink)(nil)
)
