// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Teller is a decision that is put into words when somebody asks, if anybody does.
type Teller interface {
	// Tell returns a value by its place in New's names: 0 is the outcome, 1 the first detail. It may be called after the
	// request has ended.
	Tell(i int) string
}

// Note attaches a Teller to a request. It is part of what the module allocates for the request anyway, and used once.
type Note struct {
	rec    *Recorder
	teller Teller
	latest *Note // the one that placeholders tell of; of the request's first note only, as is repl
	repl   *caddy.Replacer
}

// Attach does what Record does and costs one allocation, and three more where there is an access log: for modules that have
// something to say of every request. Where the one before, if there is one, stays by the word of keeps, nothing is attached; nil
// keeps none.
func (rec *Recorder) Attach(r *http.Request, note *Note, teller Teller, keeps func(before Teller) bool) {
	ctx := r.Context()
	note.rec, note.teller = rec, teller
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	repl, _ := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	switch first, _ := vars[rec.hidden].(*Note); {
	case vars == nil || repl == nil: // it is no request of Caddy's
	case first == nil || first.repl != repl: // the latter is of a request whose variables were copied, and may still go on
		note.latest, note.repl = note, repl
		vars[rec.hidden] = note
		repl.Map(note.placeholder)
	case keeps != nil && keeps(first.latest.teller):
		return
	default:
		first.latest = note
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && server.Logs == nil {
		return // it writes no access log, and adding a field costs three allocations
	}
	if extra, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.Object(rec.module, note))
	}
}

// placeholder is a source of the request's replacer.
func (n *Note) placeholder(name string) (any, bool) {
	for i, key := range n.rec.keys {
		if key == name {
			return n.latest.teller.Tell(i), true
		}
	}
	return nil, false
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (n *Note) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	for i, name := range n.rec.names {
		if value := n.teller.Tell(i); value != "" {
			enc.AddString(name, value)
		}
	}
	return nil
}
