// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

const (
	defaultDialTimeout   = 500 * time.Millisecond
	defaultTimeout       = 2 * time.Second
	defaultProbeInterval = 30 * time.Millisecond
	defaultProbeTimeout  = 150 * time.Millisecond
	defaultIdleTimeout   = 5 * time.Minute
	defaultPool          = 20
	defaultQueue         = 32768
	defaultPrefix        = "gatehouse"

	minProbe = caddy.Duration(10 * time.Millisecond)
	maxDB    = 65535
	maxPool  = 10000
	maxQueue = 10_000_000
)

// Kinds of deployment.
const (
	modeStandalone = "standalone"
	modeSentinel   = "sentinel"
	modeCluster    = "cluster"
)

// settings is a client's configuration with defaults filled in and placeholders expanded. All of it goes into the key that
// clients are shared by, so whatever a client is built from belongs here.
type settings struct {
	Name, Mode, Master, Prefix         string
	Addresses                          []string
	Username, Password                 string
	SentinelUsername, SentinelPassword string
	DB                                 int
	TLSDigest                          string // of the options and of the files' contents, so that a renewed certificate counts
	DialTimeout, Timeout               time.Duration
	ProbeInterval, ProbeTimeout        time.Duration
	IdleTimeout, Lifetime              time.Duration
	PoolSize, MinIdle, Queue           int

	tls *tls.Config
}

// key identifies the settings without giving any secret away.
func (s *settings) key() string {
	text, err := json.Marshal(s)
	if err != nil {
		panic("BUG: settings cannot be encoded: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return s.Name + ":" + hex.EncodeToString(sum[:])
}

// resolve checks the configuration, expands placeholders and fills defaults in. Its errors never hold a secret.
func (c *ClientConfig) resolve(name string, repl *caddy.Replacer) (*settings, error) {
	if !validName(name) {
		return nil, errors.New("expected a name made of letters, digits, dots, _ and - only")
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	probe, pool := c.probe(), c.pool()
	s := &settings{
		Name:          name,
		DB:            c.DB,
		DialTimeout:   cmp.Or(time.Duration(c.DialTimeout), defaultDialTimeout),
		Timeout:       cmp.Or(time.Duration(c.Timeout), defaultTimeout),
		ProbeInterval: cmp.Or(time.Duration(probe.Interval), defaultProbeInterval),
		ProbeTimeout:  cmp.Or(time.Duration(probe.Timeout), defaultProbeTimeout),
		IdleTimeout:   cmp.Or(time.Duration(pool.IdleTimeout), defaultIdleTimeout),
		Lifetime:      time.Duration(pool.Lifetime),
		PoolSize:      cmp.Or(pool.Size, defaultPool),
		MinIdle:       pool.MinIdle,
		Queue:         cmp.Or(pool.Queue, defaultQueue),
	}
	if s.MinIdle > s.PoolSize {
		return nil, errors.New("pool.min_idle: expected no more than pool.size")
	}
	x := expander{repl: repl}
	s.Prefix = cmp.Or(x.text("prefix", c.Prefix), defaultPrefix)
	s.Username, s.Password = x.text("username", c.Username), x.secret("password", c.Password)
	s.tls, s.TLSDigest = x.tls(c.TLS)
	c.locate(s, &x)
	if x.err != nil {
		return nil, x.err
	}
	if strings.ContainsFunc(s.Prefix, func(r rune) bool { return r <= ' ' || r == '{' || r == '}' || r == 0x7f }) {
		return nil, errors.New("prefix: expected no braces, blanks or control characters")
	}
	return s, nil
}

// locate fills in where the servers are.
func (c *ClientConfig) locate(s *settings, x *expander) {
	switch {
	case c.Sentinel != nil:
		s.Mode, s.Master = modeSentinel, x.text("sentinel master", c.Sentinel.Master)
		s.Addresses = x.addresses("sentinel", c.Sentinel.Addresses, "26379")
		s.SentinelUsername = x.text("sentinel username", c.Sentinel.Username)
		s.SentinelPassword = x.secret("sentinel password", c.Sentinel.Password)
	case len(c.Cluster) > 0:
		s.Mode, s.Addresses = modeCluster, x.addresses("cluster", c.Cluster, "6379")
	default:
		s.Mode = modeStandalone
		c.locateURL(s, x)
	}
}

func (c *ClientConfig) locateURL(s *settings, x *expander) {
	raw, err := expandURL(x.repl, c.URL)
	if err != nil {
		x.fail("url", err)
		return
	}
	e, err := parseURL(raw)
	if err != nil {
		x.fail("url", err)
		return
	}
	if e.username != "" && s.Username != "" || e.password != "" && s.Password != "" || e.db != 0 && s.DB != 0 {
		x.fail("url", errors.New("user, password and database are given either in the URL or as options"))
		return
	}
	s.Addresses = []string{e.address}
	s.Username, s.Password = cmp.Or(e.username, s.Username), cmp.Or(e.password, s.Password)
	s.DB = cmp.Or(e.db, s.DB)
	if e.tls && s.tls == nil {
		s.tls, s.TLSDigest = x.tls(new(TLSConfig))
	}
}

// expander expands placeholders and keeps the first error.
type expander struct {
	repl *caddy.Replacer
	err  error
}

func (x *expander) fail(what string, err error) {
	if x.err == nil && err != nil {
		x.err = fmt.Errorf("%s: %w", what, err)
	}
}

func (x *expander) text(what, value string) string {
	v, err := x.repl.ReplaceOrErr(value, true, true)
	x.fail(what, err)
	return v
}

// secret is text whose error does not quote the placeholder: what looks like one may be a part of the secret.
func (x *expander) secret(what, value string) string {
	v, err := x.repl.ReplaceOrErr(value, true, true)
	if err != nil {
		x.fail(what, errors.New(`a placeholder in it is unknown or empty (a literal brace is written \{)`))
	}
	return v
}

func (x *expander) addresses(what string, values []string, port string) []string {
	var out []string
	for _, value := range values {
		address, err := withPort(x.text(what, value), port)
		x.fail(fmt.Sprintf("%s: address %q", what, value), err)
		out = append(out, address)
	}
	return out
}

// tls loads the files. Reading them is no dialing, so a wrong path is found when the config is loaded.
func (x *expander) tls(c *TLSConfig) (*tls.Config, string) {
	if c == nil {
		return nil, ""
	}
	t := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         x.text("tls server_name", c.ServerName),
		InsecureSkipVerify: c.InsecureSkipVerify, // #nosec G402 -- the operator's explicit choice, documented as dangerous
	}
	ca, cert, key := x.file("tls ca", c.CA), x.file("tls cert", c.Cert), x.file("tls key", c.Key)
	if x.err == nil && ca != nil {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(ca) {
			x.fail("tls ca", errors.New("the file holds no PEM certificate"))
		}
	}
	if x.err == nil && cert != nil {
		pair, err := tls.X509KeyPair(cert, key)
		x.fail("tls cert", err)
		t.Certificates = []tls.Certificate{pair}
	}
	digest := sha256.New()
	for _, part := range [][]byte{ca, cert, key, []byte(t.ServerName), fmt.Append(nil, t.InsecureSkipVerify)} {
		fmt.Fprintf(digest, "%d:%s", len(part), part)
	}
	return t, hex.EncodeToString(digest.Sum(nil))
}

func (x *expander) file(what, path string) []byte {
	if path == "" {
		return nil
	}
	content, err := os.ReadFile(x.text(what, path))
	x.fail(what, err)
	return content
}

func validName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.", r))
	})
}
