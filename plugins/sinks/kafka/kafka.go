// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package kafka is the log sink `kafka`: it produces a record a line, idempotently and in order, by the client franz-go.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/logship"
)

func init() { caddy.RegisterModule(new(Sink)) }

// Sink produces a record a line. Its key is the node, so that all lines of a node are in one partition, in their order; its
// timestamp is the line's time; its header `ship_id` is the line's origin, `<node>-<epoch>-<number>`.
//
// The producer is idempotent and waits for all in-sync replicas. A batch whose acknowledgement is late is not produced again
// but waited for, so a line is there twice only if the process ended, or the config changed, between a record and its
// acknowledgement: one batch at most.
type Sink struct {
	// Brokers are hosts and ports of some of the cluster's brokers; without a port it is 9092. Placeholders of the process
	// are expanded here, in Topic, Username and Password when the config is loaded. Required.
	Brokers []string `json:"brokers,omitempty"`
	// Topic is where records go. Required.
	Topic string `json:"topic,omitempty"`
	// ClientID is what the brokers' logs and quotas call this client. Default: gatehouse.
	ClientID string `json:"client_id,omitempty"`
	// Compress is `zstd`, `lz4`, `snappy`, `gzip` or `none`. Default: zstd, or what a broker older than 2.1 has instead.
	Compress string `json:"compress,omitempty"`
	// MaxMessageBytes is the limit of a batch of records, and so of a line; longer lines go to the dead letters. It must not
	// be above `max.message.bytes` of the topic. Default (and zero): 1,000,012, which is Kafka's default.
	MaxMessageBytes int64 `json:"max_message_bytes,omitempty"`
	// CreateTopic asks the brokers to make the topic if it does not exist, which they do if auto.create.topics.enable is set.
	// Default: false.
	CreateTopic bool `json:"create_topic,omitempty"`
	// Mechanism is how to authenticate by SASL: `plain` (RFC 4616), `scram-sha-256` or `scram-sha-512` (RFC 5802). Default:
	// none.
	Mechanism string `json:"mechanism,omitempty"`
	// Username is for SASL.
	Username string `json:"username,omitempty"`
	// Password is the user's.
	Password string `json:"password,omitempty"`
	// TLS has connections encrypted. Default: false, unless one of the options below is set.
	TLS bool `json:"tls,omitempty"`
	// CA is a PEM file of the certificate authorities to trust. Default: the system's.
	CA string `json:"ca,omitempty"`
	// Cert is a PEM file of the client's certificate. Default: none; it needs a key.
	Cert string `json:"cert,omitempty"`
	// Key is the PEM file of the certificate's private key. Default: none.
	Key string `json:"key,omitempty"`
	// InsecureSkipVerify accepts any certificate: anyone on the way can read and change the lines. Default: false.
	InsecureSkipVerify bool `json:"insecure_skip_verify,omitempty"`

	options []kgo.Opt
	trouble *trouble
	flights flights

	mu     sync.Mutex // guards client and closed
	client *kgo.Client
	closed bool
}

// CaddyModule returns the Caddy module information.
func (*Sink) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: logship.Namespace + ".kafka", New: func() caddy.Module { return new(Sink) }}
}

// UnmarshalCaddyfile reads the sink's options. Syntax:
//
//	sink kafka <brokers...> {
//		topic <name>
//		client_id <id>
//		compress zstd|lz4|snappy|gzip|none
//		max_message_size <size>
//		create_topic
//		sasl plain|scram-sha-256|scram-sha-512 <username> <password>
//		tls
//		tls_ca <file>
//		tls_client_auth <cert> <key>
//		tls_insecure_skip_verify
//	}
//
// `topic` is required.
func (s *Sink) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := directive.Args(d, &s.Brokers, broker); err != nil {
		return err
	}
	err := directive.Block(d, directive.Options{
		"topic":                    func() error { return directive.Arg(d, &s.Topic, topic) },
		"client_id":                func() error { return directive.Arg(d, &s.ClientID, directive.Word) },
		"compress":                 func() error { return directive.Arg(d, &s.Compress, codec) },
		"max_message_size":         func() error { return directive.Arg(d, &s.MaxMessageBytes, directive.Size) },
		"create_topic":             func() error { return directive.Flag(d, &s.CreateTopic) },
		"sasl":                     func() error { return s.parseSASL(d) },
		"tls":                      func() error { return directive.Flag(d, &s.TLS) },
		"tls_ca":                   func() error { return directive.Arg(d, &s.CA, directive.Word) },
		"tls_client_auth":          func() error { return s.parseClientAuth(d) },
		"tls_insecure_skip_verify": func() error { return directive.Flag(d, &s.InsecureSkipVerify) },
	})
	if err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return d.Errf("sink kafka: %v", err)
	}
	return nil
}

func (s *Sink) parseSASL(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("sasl: expected a mechanism, a username and a password")
	}
	if err := directive.Value(d, "sasl", &s.Mechanism, mechanism); err != nil {
		return err
	}
	if !d.AllArgs(&s.Username, &s.Password) {
		return d.Err("sasl: expected a mechanism, a username and a password")
	}
	return nil
}

func (s *Sink) parseClientAuth(d *caddyfile.Dispenser) error {
	if !d.AllArgs(&s.Cert, &s.Key) {
		return d.Err("tls_client_auth: expected a certificate and a key")
	}
	return nil
}

// broker accepts a host with or without a port.
func broker(text string) (string, error) {
	if strings.Contains(text, "{") {
		return text, nil // it is checked when its placeholders have their values
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = text, "9092"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" || strings.ContainsAny(host, "/@ ") ||
		strings.Contains(host, ":") && net.ParseIP(host) == nil {
		return "", fmt.Errorf("expected a broker such as kafka.example:9092, found %q", text)
	}
	return text, nil
}

// topic accepts what Kafka does.
func topic(text string) (string, error) {
	if strings.Contains(text, "{") {
		return text, nil
	}
	if text == "" || text == "." || text == ".." || len(text) > 249 || strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	}) {
		return "", fmt.Errorf("expected up to 249 letters, digits, dots, underscores and hyphens, found %q", text)
	}
	return text, nil
}

// Provision implements caddy.Provisioner. It does not connect; a broken TLS file or an option that the client refuses is an
// error.
func (s *Sink) Provision(caddy.Context) error {
	if err := s.expand(); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	s.trouble = new(trouble)
	options, err := s.clientOptions()
	if err != nil {
		return err
	}
	if err := kgo.ValidateOpts(options...); err != nil {
		return fmt.Errorf("the client's options: %w", err)
	}
	s.options = options
	return nil
}

// expand gives placeholders their values.
func (s *Sink) expand() error {
	repl := caddy.NewReplacer()
	values := map[string]*string{
		"topic": &s.Topic, "client_id": &s.ClientID, "username": &s.Username, "password": &s.Password,
		"ca": &s.CA, "cert": &s.Cert, "key": &s.Key,
	}
	for i := range s.Brokers {
		values["brokers, entry "+strconv.Itoa(i)] = &s.Brokers[i]
	}
	for name, value := range values {
		expanded, err := repl.ReplaceOrErr(*value, true, true)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*value = expanded
	}
	return nil
}

// Cleanup implements caddy.CleanerUpper. Records that were not acknowledged are given up: the host has their lines.
func (s *Sink) Cleanup() error {
	s.mu.Lock()
	client := s.client
	s.closed, s.client = true, nil
	s.mu.Unlock()
	if client != nil {
		client.Close()
	}
	return nil
}

// open returns the client, which is made at the first batch, so that a config which is only validated has none.
func (s *Sink) open() (*kgo.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("the sink is closed")
	}
	if s.client == nil {
		client, err := kgo.NewClient(s.options...)
		if err != nil {
			return nil, fmt.Errorf("making the client: %w", err)
		}
		s.client = client
	}
	return s.client, nil
}

// Send implements logship.Sink.
func (s *Sink) Send(ctx context.Context, batch *logship.Batch) error {
	client, err := s.open()
	if err != nil {
		return err
	}
	return s.flights.send(ctx, client, batch, s.trouble)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Sink)(nil)
	_ caddy.CleanerUpper    = (*Sink)(nil)
	_ caddyfile.Unmarshaler = (*Sink)(nil)
	_ logship.Sink          = (*Sink)(nil)
)
