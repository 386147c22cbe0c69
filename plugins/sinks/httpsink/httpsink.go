// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package httpsink is the log sink `http`: it posts batches of lines to a URL, as NDJSON or as a JSON array.
package httpsink

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/logship"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/httppost"
)

// Values of Sink.Format.
const (
	// NDJSON is a JSON object a line, as `application/x-ndjson`.
	NDJSON = "ndjson"
	// JSONArray is an array of the objects, as `application/json`.
	JSONArray = "json_array"
)

// maxAnswer is read of an answer, so that its connection can be used again; what it says does not matter.
const maxAnswer = 4 << 10

func init() { caddy.RegisterModule(Sink{}) }

// Sink posts batches to a URL. Any 2xx is taken as an acknowledgement. 400, 413 and 422 are taken as a refusal of the lines,
// which the writer narrows down to the line at fault; any other answer, also a redirect, is tried again. Each batch carries
// its ID as `Idempotency-Key`, the same one when it is sent again, so that a receiver may drop duplicates.
type Sink struct {
	httppost.Config
	// Format is `ndjson` or `json_array`. Default: ndjson.
	Format string `json:"format,omitempty"`

	client *httppost.Client
}

// CaddyModule returns the Caddy module information.
func (Sink) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: logship.Namespace + ".http", New: func() caddy.Module { return new(Sink) }}
}

// UnmarshalCaddyfile reads the sink's options. Syntax:
//
//	sink http <url> {
//		format ndjson|json_array
//		header <name> <value>
//		basic_auth <username> <password>
//		bearer <token>
//		compress zstd|gzip|none
//		tls_ca <file>
//		tls_client_auth <cert> <key>
//		tls_insecure_skip_verify
//	}
func (s *Sink) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := directive.Arg(d, &s.URL, httppost.URL); err != nil {
		return err
	}
	options := directive.Options{
		"format": func() error { return directive.Arg(d, &s.Format, directive.OneOf(NDJSON, JSONArray)) },
	}
	maps.Copy(options, s.Directives(d))
	return directive.Block(d, options, "header")
}

// Provision implements caddy.Provisioner.
func (s *Sink) Provision(caddy.Context) error {
	var err error
	if s.Format != "" && s.Format != NDJSON && s.Format != JSONArray {
		return fmt.Errorf("format: expected ndjson or json_array, found %q", s.Format)
	}
	s.client, err = httppost.NewClient(s.Config, httppost.Zstd, maxAnswer)
	return err
}

// Cleanup implements caddy.CleanerUpper.
func (s *Sink) Cleanup() error {
	if s.client != nil {
		s.client.Close()
	}
	return nil
}

// Send implements logship.Sink.
func (s *Sink) Send(ctx context.Context, batch *logship.Batch) error {
	contentType, write := "application/x-ndjson", batch.AppendNDJSON
	if s.Format == JSONArray {
		contentType, write = "application/json", func(dst []byte) []byte { return appendArray(dst, batch) }
	}
	_, err := s.client.Post(ctx, contentType, batch.ID(), write)
	return err
}

func appendArray(dst []byte, batch *logship.Batch) []byte {
	dst = append(slices.Grow(dst, batch.Room()), '[')
	for i := range batch.Lines {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = batch.AppendJSON(dst, i)
	}
	return append(dst, ']')
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Sink)(nil)
	_ caddy.CleanerUpper    = (*Sink)(nil)
	_ caddyfile.Unmarshaler = (*Sink)(nil)
	_ logship.Sink          = (*Sink)(nil)
)
