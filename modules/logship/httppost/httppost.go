// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package httppost is what sinks that speak HTTP share: the options that say where to send and as whom, compression, and
// what an answer means to the host.
//
// A sink embeds Config, adds Config.Directives to its own options, calls NewClient in Provision and Close in Cleanup.
package httppost

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

// Config is where to send, and as whom. Placeholders of the process ({env.*}, {file.*}) are expanded in the URL, header
// values and secrets when the config is loaded; one that is unknown or empty is an error.
type Config struct {
	// URL is where to send: http or https. Required.
	URL string `json:"url,omitempty"`
	// Headers are sent with each request. Default: none. They win over those that the sink sets itself.
	Headers map[string]string `json:"headers,omitempty"`
	// Username is for basic authentication (RFC 7617). Default: none.
	Username string `json:"username,omitempty"`
	// Password is the user's. Default: empty.
	Password string `json:"password,omitempty"`
	// Bearer is a token for `Authorization: Bearer` (RFC 6750). Default: none. It excludes a username.
	Bearer string `json:"bearer,omitempty"`
	// Compress is the content coding of what is sent: `zstd` (RFC 8878), `gzip` (RFC 1952) or `none`. Default: as the sink
	// says.
	Compress string `json:"compress,omitempty"`
	// CA is a PEM file of the certificate authorities to trust. Default: the system's.
	CA string `json:"ca,omitempty"`
	// Cert is a PEM file of the client's certificate. Default: none; it needs a key.
	Cert string `json:"cert,omitempty"`
	// Key is the PEM file of the certificate's private key. Default: none.
	Key string `json:"key,omitempty"`
	// InsecureSkipVerify accepts any certificate: anyone on the way can read and change the lines. Default: false.
	InsecureSkipVerify bool `json:"insecure_skip_verify,omitempty"`
}

// Directives are the options of Config, for a sink to add to its own:
//
//	header <name> <value>
//	basic_auth <username> <password>
//	bearer <token>
//	compress zstd|gzip|none
//	tls_ca <file>
//	tls_client_auth <cert> <key>
//	tls_insecure_skip_verify
//
// `header` may be repeated.
func (c *Config) Directives(d *caddyfile.Dispenser) directive.Options {
	return directive.Options{
		"header":                   func() error { return c.header(d) },
		"basic_auth":               func() error { return pair(d, &c.Username, &c.Password) },
		"bearer":                   func() error { return directive.Arg(d, &c.Bearer, directive.Word) },
		"compress":                 func() error { return directive.Arg(d, &c.Compress, directive.OneOf(codings...)) },
		"tls_ca":                   func() error { return directive.Arg(d, &c.CA, directive.Word) },
		"tls_client_auth":          func() error { return pair(d, &c.Cert, &c.Key) },
		"tls_insecure_skip_verify": func() error { return directive.Flag(d, &c.InsecureSkipVerify) },
	}
}

func (c *Config) header(d *caddyfile.Dispenser) error {
	var name, value string
	if err := pair(d, &name, &value); err != nil {
		return err
	}
	if !validHeader(name, value) {
		return d.Errf("header: %q: %q is no header field", name, value)
	}
	if c.Headers == nil {
		c.Headers = map[string]string{}
	}
	if _, given := c.Headers[http.CanonicalHeaderKey(name)]; given {
		return d.Errf("header %q is given twice", name)
	}
	c.Headers[http.CanonicalHeaderKey(name)] = value
	return nil
}

// pair parses the option's two arguments.
func pair(d *caddyfile.Dispenser, first, second *string) error {
	option := d.Val()
	if !d.AllArgs(first, second) || *first == "" {
		return d.Errf("%s: expected two values", option)
	}
	return nil
}

// URL accepts what a Config's URL may be.
func URL(s string) (string, error) {
	if strings.Contains(s, "{") {
		return s, nil // it is checked when its placeholders have their values
	}
	return s, checkURL(s, s)
}

// checkURL names a faulty URL as it was written: what its placeholders stand for may be a secret.
func checkURL(s, written string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "" {
		return fmt.Errorf("expected a URL such as https://logs.example/ingest, found %q", written)
	}
	if u.User != nil {
		return errors.New("expected a URL without a user: the option basic_auth keeps the password out of logs and status")
	}
	return nil
}

// resolve expands the placeholders and checks what comes out.
func (c Config) resolve() (Config, error) {
	repl, written := caddy.NewReplacer(), c.URL
	expand := func(name string, value *string) error {
		expanded, err := repl.ReplaceOrErr(*value, true, true)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*value = expanded
		return nil
	}
	headers := make(map[string]string, len(c.Headers))
	for name, value := range c.Headers {
		if _, given := headers[http.CanonicalHeaderKey(name)]; given {
			return c, fmt.Errorf("header %q is given twice", name)
		}
		if err := expand("header "+name, &value); err != nil {
			return c, err
		}
		if !validHeader(name, value) {
			return c, fmt.Errorf("header %q: not a valid field", name) // the value may be a secret
		}
		headers[http.CanonicalHeaderKey(name)] = value
	}
	c.Headers = headers
	for name, value := range map[string]*string{
		"url": &c.URL, "username": &c.Username, "password": &c.Password, "bearer": &c.Bearer,
		"ca": &c.CA, "cert": &c.Cert, "key": &c.Key,
	} {
		if err := expand(name, value); err != nil {
			return c, err
		}
	}
	return c, c.check(written)
}

func (c *Config) check(written string) error {
	if err := checkURL(c.URL, written); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if c.Bearer != "" && c.Username != "" {
		return errors.New("bearer and a username exclude each other")
	}
	if c.Username == "" && c.Password != "" {
		return errors.New("a password needs a username")
	}
	if strings.Contains(c.Username, ":") { // RFC 7617, section 2: the receiver would take the rest for the password
		return errors.New("username: expected one without a colon")
	}
	if strings.HasPrefix(c.URL, "http:") && (c.CA != "" || c.Cert != "" || c.InsecureSkipVerify) {
		return errors.New("url: expected https, as there are options of TLS")
	}
	if (c.Cert == "") != (c.Key == "") {
		return errors.New("cert and key need each other")
	}
	if !validHeader("Authorization", c.Bearer) {
		return errors.New("bearer: the token has characters that no header field may have")
	}
	if c.Compress != "" {
		_, err := directive.OneOf(codings...)(c.Compress)
		if err != nil {
			return fmt.Errorf("compress: %w", err)
		}
	}
	return nil
}

// validHeader keeps a value from ending its field (RFC 9110, section 5.5).
func validHeader(name, value string) bool {
	if name == "" || strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~") != "" {
		return false
	}
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
