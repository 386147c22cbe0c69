// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]endpoint{
		"redis://127.0.0.1":               {address: "127.0.0.1:6379"},
		"redis://host:7000/":              {address: "host:7000"},
		"redis://host/15":                 {address: "host:6379", db: 15},
		"rediss://u:p%40ss@host:7000/1":   {address: "host:7000", username: "u", password: "p@ss", db: 1, tls: true},
		"redis://:pw@[::1]:7000":          {address: "[::1]:7000", password: "pw"},
		"redis://[::1]":                   {address: "[::1]:6379"},
		"unix:///run/redis.sock":          {address: "/run/redis.sock"},
		"unix://u:pw@/run/redis/redis.so": {address: "/run/redis/redis.so", username: "u", password: "pw"},
	} {
		if got, err := parseURL(raw); err != nil || got != want {
			t.Errorf("%s gives %+v, %v", raw, got, err)
		}
	}
	for _, raw := range []string{
		"", "host", "host:6379", "http://host", "redis://", "redis:///1", "redis:host", "redis://host/x", "redis://host/-1",
		"redis://host/70000", "redis://host:0", "redis://host:70000", "redis://host:", "redis://host?db=1", "redis://host#x",
		"unix://", "unix:///", "unix://host/path", "redis://:hun/ter2@host", "redis://:hunter2#@host", "redis://:hunter2%zz@host",
	} {
		if got, err := parseURL(raw); err == nil {
			t.Errorf("%s gives %+v", raw, got)
		} else if strings.Contains(err.Error(), "hun") {
			t.Errorf("the error tells a part of the password: %v", err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{"redis://u:p@h:1/2", "unix://:p@/s", "rediss://[::1]", "redis://:s3cret@:/", "redis://h?x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		e, err := parseURL(raw)
		if err != nil {
			return
		}
		if strings.HasPrefix(e.address, "/") {
			return
		}
		host, port, err := net.SplitHostPort(e.address)
		if err != nil || host == "" || port == "" {
			t.Fatalf("%q gives the address %q: %v", raw, e.address, err)
		}
	})
}

func TestResolveExpandsPlaceholders(t *testing.T) {
	t.Setenv("GATE_URL", "redis://u:p%40@one:7000/3")
	t.Setenv("GATE_PW", "p@ss w/rd%+")
	t.Setenv("GATE_HOST", "two")
	for _, test := range []struct {
		config ClientConfig
		want   settings
	}{
		{ClientConfig{URL: "{env.GATE_URL}"}, settings{Addresses: []string{"one:7000"}, Username: "u", Password: "p@", DB: 3}},
		{ClientConfig{URL: "redis://u:{env.GATE_PW}@{env.GATE_HOST}:1"}, settings{
			Addresses: []string{"two:1"}, Username: "u", Password: "p@ss w/rd%+",
		}},
		{ClientConfig{URL: "redis://{env.GATE_HOST}", Password: "{env.GATE_PW}", Prefix: "{env.GATE_HOST}"}, settings{
			Addresses: []string{"two:6379"}, Password: "p@ss w/rd%+", Prefix: "two",
		}},
		{ClientConfig{Cluster: []string{"{env.GATE_HOST}", "b:1"}}, settings{Addresses: []string{"two:6379", "b:1"}}},
		{
			ClientConfig{Sentinel: &SentinelConfig{Master: "m", Addresses: []string{"{env.GATE_HOST}"}, Password: "{env.GATE_PW}"}},
			settings{Addresses: []string{"two:26379"}, SentinelPassword: "p@ss w/rd%+"},
		},
	} {
		s, err := test.config.resolve("x", caddy.NewReplacer())
		if err != nil {
			t.Errorf("%+v: %v", test.config, err)
			continue
		}
		if test.want.Prefix == "" {
			test.want.Prefix = "gatehouse"
		}
		if !slices.Equal(s.Addresses, test.want.Addresses) || s.Username != test.want.Username || s.Password != test.want.Password ||
			s.DB != test.want.DB || s.Prefix != test.want.Prefix || s.SentinelPassword != test.want.SentinelPassword {
			t.Errorf("%+v gives %+v", test.config, s)
		}
	}
}

func TestDefaults(t *testing.T) {
	s, err := (&ClientConfig{URL: "redis://h"}).resolve("x", caddy.NewReplacer())
	if err != nil {
		t.Fatal(err)
	}
	if s.Timeout != 2000*ms || s.DialTimeout != 500*ms || s.ProbeInterval != 30*ms || s.ProbeTimeout != 150*ms ||
		s.IdleTimeout != 5*time.Minute || s.Lifetime != 0 || s.PoolSize != 20 || s.MinIdle != 0 || s.Queue != 32768 || s.tls != nil {
		t.Errorf("defaults are %+v", s)
	}
}

func TestResolveErrors(t *testing.T) {
	url := "redis://h"
	for name, test := range map[string]struct {
		config ClientConfig
		want   string
	}{
		"nothing":           {ClientConfig{}, "expected a URL"},
		"two places":        {ClientConfig{URL: url, Cluster: []string{"a"}}, "url and cluster exclude each other"},
		"bad url":           {ClientConfig{URL: "redis://:hunter2@h:x"}, "url: expected redis://"},
		"unknown variable":  {ClientConfig{URL: "redis://:{env.GATE_NONE}@h"}, "{env.GATE_NONE}"},
		"unknown url":       {ClientConfig{URL: "{env.GATE_NONE}"}, "{env.GATE_NONE}"},
		"brace in password": {ClientConfig{URL: url, Password: "{hunter2}"}, "password: a placeholder in it"},
		"twice":             {ClientConfig{URL: "redis://:hunter2@h", Password: "hunter2"}, "either in the URL or as options"},
		"db of a cluster":   {ClientConfig{Cluster: []string{"a"}, DB: 1}, "only database 0"},
		"sentinel":          {ClientConfig{Sentinel: &SentinelConfig{Master: "m"}}, "at least one sentinel"},
		"address":           {ClientConfig{Cluster: []string{"a:b"}}, "cluster: address \"a:b\""},
		"IPv6":              {ClientConfig{Cluster: []string{"::1"}}, "brackets"},
		"prefix":            {ClientConfig{URL: url, Prefix: "a{b"}, "prefix: expected no braces"},
		"cert without key":  {ClientConfig{URL: url, TLS: &TLSConfig{Cert: "x"}}, "cert and key"},
		"no such file":      {ClientConfig{URL: url, TLS: &TLSConfig{CA: "/nonexistent"}}, "tls ca: open /nonexistent"},
		"negative":          {ClientConfig{URL: url, Timeout: -1}, "timeout: expected a duration above zero"},
		"probe":             {ClientConfig{URL: url, Probe: &ProbeConfig{Interval: 1}}, "probe.interval: expected at least 10ms"},
		"queue":             {ClientConfig{URL: url, Pool: &PoolConfig{Queue: -1}}, "pool.queue: expected a number"},
		"min_idle":          {ClientConfig{URL: url, Pool: &PoolConfig{MinIdle: 30}}, "no more than pool.size"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := test.config.resolve("x", caddy.NewReplacer())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("the error tells the password: %v", err)
			}
		})
	}
}

func TestErrorNamesTheClient(t *testing.T) {
	err := gatehousetest.Validate([]byte(`{"apps":{"redis":{"clients":{"lim":{"url":"host:6379"}}}}}`))
	if err == nil || !strings.Contains(err.Error(), `redis client "lim": url: expected`) {
		t.Fatalf("got %v", err)
	}
	err = gatehousetest.Validate([]byte(`{"apps":{"redis":{"clients":{"a b":{"url":"redis://h"}}}}}`))
	if err == nil || !strings.Contains(err.Error(), `redis client "a b": expected a name`) {
		t.Fatalf("got %v", err)
	}
}

func TestKeyHoldsEverythingAndNoSecret(t *testing.T) {
	base := ClientConfig{URL: "redis://h", Password: "hunter2"}
	key := func(name string, change func(*ClientConfig)) string {
		c := base
		change(&c)
		s, err := c.resolve(name, caddy.NewReplacer())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(s.key(), "hunter2") {
			t.Fatal("the key tells the password")
		}
		return s.key()
	}
	same := key("x", func(*ClientConfig) {})
	if same != key("x", func(c *ClientConfig) { c.Timeout = 2e9 }) {
		t.Error("a default written out makes another key")
	}
	seen := map[string]bool{same: true}
	for i, change := range []func(*ClientConfig){
		func(c *ClientConfig) { c.Password = "hunter3" },
		func(c *ClientConfig) { c.Username = "u" },
		func(c *ClientConfig) { c.URL = "redis://i" },
		func(c *ClientConfig) { c.DB = 1 },
		func(c *ClientConfig) { c.Prefix = "p" },
		func(c *ClientConfig) { c.Timeout = 1 },
		func(c *ClientConfig) { c.DialTimeout = 1 },
		func(c *ClientConfig) { c.TLS = &TLSConfig{} },
		func(c *ClientConfig) { c.TLS = &TLSConfig{ServerName: "s"} },
		func(c *ClientConfig) { c.TLS = &TLSConfig{InsecureSkipVerify: true} },
		func(c *ClientConfig) { c.Probe = &ProbeConfig{Interval: 1e9} },
		func(c *ClientConfig) { c.Probe = &ProbeConfig{Timeout: 1e9} },
		func(c *ClientConfig) { c.Pool = &PoolConfig{Size: 7} },
		func(c *ClientConfig) { c.Pool = &PoolConfig{MinIdle: 7} },
		func(c *ClientConfig) { c.Pool = &PoolConfig{IdleTimeout: 7} },
		func(c *ClientConfig) { c.Pool = &PoolConfig{Lifetime: 7} },
		func(c *ClientConfig) { c.Pool = &PoolConfig{Queue: 7} },
	} {
		k := key("x", change)
		if seen[k] {
			t.Errorf("change %d makes no other key", i)
		}
		seen[k] = true
	}
	if seen[key("y", func(*ClientConfig) {})] {
		t.Error("another name makes no other key")
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca, cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key)
	_, port, _ := net.SplitHostPort(gatehousetest.FreeAddress(t))
	gatehousetest.StartRedis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca)

	c := open(t, &ClientConfig{URL: "rediss://localhost:" + port, Timeout: 1e10, DialTimeout: 1e10, TLS: &TLSConfig{CA: ca, Cert: cert, Key: key}})
	if got := ask(t, c, "PING"); got != "PONG" {
		t.Fatalf("PING answers %s", got)
	}
	for name, config := range map[string]*ClientConfig{
		"unknown authority": {URL: "rediss://localhost:" + port, TLS: &TLSConfig{Cert: cert, Key: key}},
		"other name":        {URL: "rediss://localhost:" + port, TLS: &TLSConfig{CA: ca, Cert: cert, Key: key, ServerName: "other.example"}},
	} {
		bad := open(t, config)
		if _, err := bad.Do(t.Context(), "PING"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: got %v", name, err)
		}
		eventually(t, name+" is told", func() bool { return strings.Contains(bad.Status().LastError, "certificate") })
	}
}

// writeCertificate makes a certificate for localhost that signs itself.
func writeCertificate(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
