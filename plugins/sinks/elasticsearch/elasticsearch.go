// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package elasticsearch is the log sink `elasticsearch`: it creates a document a line through the bulk API of Elasticsearch
// and of OpenSearch.
package elasticsearch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/logship"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/httppost"
)

const (
	// defaultIndex is what Elasticsearch's own template for logs makes a data stream of.
	defaultIndex = "logs-gatehouse-default"
	// wanted is the part of the answer that says what became of each line.
	wanted = "errors,items.*.status,items.*.error.type,items.*.error.reason"
)

func init() { caddy.RegisterModule(Sink{}) }

// Sink creates a document a line by the bulk API. A document's `_id` is the line's origin (`<node>-<epoch>-<number>`) and it
// is created, never overwritten, so a line that is sent again is there once: in an index, and in a data stream unless it
// was rolled over in between. A document without `@timestamp` gets the line's time there, as data streams ask for it.
//
// What is answered about each line counts: documents that can never be indexed go to the dead letters; the others are tried
// again where the cluster is full, blocked or lacks the index.
type Sink struct {
	// Config says where to send: the URL is the cluster's, without `_bulk`. Its compression is `gzip` or `none`; default:
	// gzip.
	httppost.Config
	// Index is the index, alias or data stream. `%Y`, `%m` and `%d` stand for the year, month and day of a line, in UTC.
	// Placeholders of the process are expanded when the config is loaded. Default: logs-gatehouse-default.
	Index string `json:"index,omitempty"`
	// Pipeline is the ingest pipeline that documents go through. Default: the index's.
	Pipeline string `json:"pipeline,omitempty"`
	// APIKey is an API key as Elasticsearch encodes it, in Base64. Placeholders of the process are expanded when the config
	// is loaded. Default: none. It excludes a username and a bearer token.
	APIKey string `json:"api_key,omitempty"`

	client *httppost.Client
	index  index
}

// CaddyModule returns the Caddy module information.
func (Sink) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: logship.Namespace + ".elasticsearch", New: func() caddy.Module { return new(Sink) }}
}

// UnmarshalCaddyfile reads the sink's options. Syntax:
//
//	sink elasticsearch <url> {
//		index <name>
//		pipeline <name>
//		api_key <key>
//		header <name> <value>
//		basic_auth <username> <password>
//		bearer <token>
//		compress gzip|none
//		tls_ca <file>
//		tls_client_auth <cert> <key>
//		tls_insecure_skip_verify
//	}
func (s *Sink) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := directive.Arg(d, &s.URL, httppost.URL); err != nil {
		return err
	}
	options := s.Directives(d)
	maps.Copy(options, directive.Options{
		"index":    func() error { return directive.Arg(d, &s.Index, indexName) },
		"pipeline": func() error { return directive.Arg(d, &s.Pipeline, directive.Word) },
		"api_key":  func() error { return directive.Arg(d, &s.APIKey, directive.Word) },
		"compress": func() error { return directive.Arg(d, &s.Compress, compression) },
	})
	return directive.Block(d, options, "header")
}

// compression accepts what the servers understand.
func compression(s string) (string, error) { return directive.OneOf(httppost.Gzip, httppost.None)(s) }

// Provision implements caddy.Provisioner. It does not connect.
func (s *Sink) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()
	for name, value := range map[string]*string{"url": &s.URL, "index": &s.Index, "pipeline": &s.Pipeline, "api_key": &s.APIKey} {
		expanded, err := repl.ReplaceOrErr(*value, true, true)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*value = expanded
	}
	if s.Index == "" {
		s.Index = defaultIndex
	}
	if _, err := indexName(s.Index); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	s.index = newIndex(s.Index)
	config, err := s.config()
	if err != nil {
		return err
	}
	s.client, err = httppost.NewClient(config, httppost.Gzip, maxAnswer)
	return err
}

// config is where and how to post.
func (s *Sink) config() (httppost.Config, error) {
	config := s.Config
	if config.Compress != "" {
		if _, err := compression(config.Compress); err != nil {
			return config, fmt.Errorf("compress: %w", err)
		}
	}
	if s.APIKey != "" {
		if config.Username != "" || config.Bearer != "" {
			return config, errors.New("api_key excludes a username and a bearer token")
		}
		config.Headers = map[string]string{"Authorization": "ApiKey " + s.APIKey}
		maps.Copy(config.Headers, s.Headers)
	}
	u, err := url.Parse(s.URL)
	if err != nil || u.RawQuery != "" || u.Fragment != "" {
		return config, errors.New("url: expected the cluster's, without a query, such as https://es.example:9200")
	}
	u = u.JoinPath("_bulk")
	query := url.Values{"filter_path": {wanted}}
	if s.Pipeline != "" {
		query.Set("pipeline", s.Pipeline)
	}
	u.RawQuery = query.Encode()
	config.URL = u.String()
	return config, nil
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
	answer, err := s.client.Post(ctx, "application/x-ndjson", "", func(dst []byte) []byte { return appendBulk(dst, &s.index, batch) })
	if err != nil {
		return err
	}
	return judge(answer, len(batch.Lines))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Sink)(nil)
	_ caddy.CleanerUpper    = (*Sink)(nil)
	_ caddyfile.Unmarshaler = (*Sink)(nil)
	_ logship.Sink          = (*Sink)(nil)
)
