// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package decision makes visible what a module decided about a request: as placeholders, and in the access log.
package decision

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Recorder records the decisions of one module. It is made once, in Provision, and is safe for concurrent use.
type Recorder struct {
	module string
	names  []string // of the values: "outcome", then the details
	keys   []string // of the placeholders, in the same order
	hidden string   // the variable of a request in which Attach finds what it attached before
}

// New returns a recorder for a module, named by its directive ("ip_ban"). A decision has an outcome, and further details
// with the given names.
func New(module string, details ...string) *Recorder {
	rec := &Recorder{module: module, names: append([]string{"outcome"}, details...), hidden: "\x00gatehouse." + module}
	for _, name := range rec.names {
		rec.keys = append(rec.keys, "http.gatehouse."+module+"."+name)
	}
	return rec
}

// Record sets the placeholders {http.gatehouse.<module>.outcome} and {http.gatehouse.<module>.<detail>} and the
// access-log field <module>, an object of the same values. Details come in New's order; an empty one, or one left out at
// the end, is neither set nor logged. A later decision of the same module on the same request replaces the earlier one.
//
// It allocates, so a module does not record that it had nothing to say.
func (rec *Recorder) Record(r *http.Request, outcome string, details ...string) {
	if len(details) >= len(rec.names) {
		panic(fmt.Sprintf("BUG: %s records %d details and has names for %d", rec.module, len(details), len(rec.names)-1))
	}
	values := append([]string{outcome}, details...)
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		for i, key := range rec.keys {
			if i < len(values) && values[i] != "" {
				repl.Set(key, values[i])
			} else {
				repl.Delete(key)
			}
		}
	}
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.Object(rec.module, record{rec.names, values}))
	}
}

// record is a decision as the access log writes it.
type record struct{ names, values []string }

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (d record) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	for i, value := range d.values {
		if value != "" {
			enc.AddString(d.names[i], value)
		}
	}
	return nil
}
