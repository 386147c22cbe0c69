// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package httppost

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/logship"
)

const (
	dialTimeout = 5 * time.Second
	idleTimeout = 90 * time.Second
	// MaxAnswer bounds what is read of an answer, in bytes. Elasticsearch says something about each of thousands of lines.
	MaxAnswer = 8 << 20
	// maxQuoted is how much of an answer appears in an error.
	maxQuoted = 200
)

// Client sends batches to one URL. It is not safe for concurrent use: a sink is asked to send one batch at a time.
type Client struct {
	config     Config
	compressor *Compressor
	http       http.Client
}

// NewClient resolves the configuration. It does not connect; it reads the files of TLS. coding is the content coding if the
// configuration names none.
func NewClient(config Config, coding string) (*Client, error) {
	resolved, err := config.resolve()
	if err != nil {
		return nil, err
	}
	if resolved.Compress != "" {
		coding = resolved.Compress
	}
	compressor, err := NewCompressor(coding)
	if err != nil {
		return nil, err
	}
	secure, err := resolved.TLS()
	if err != nil {
		return nil, err
	}
	c := &Client{config: resolved, compressor: compressor}
	c.http.Transport = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:       secure,
		TLSHandshakeTimeout:   dialTimeout,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   2,
		IdleConnTimeout:       idleTimeout,
		WriteBufferSize:       64 << 10,
		DisableCompression:    true, // of answers
		ExpectContinueTimeout: time.Second,
	}
	// The lines go where the configuration says, with its secrets, and nowhere else.
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

// TLS reads the files that CA, Cert and Key name, after their placeholders were expanded. Sinks that speak other protocols
// over TLS use it too.
func (c *Config) TLS() (*tls.Config, error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.InsecureSkipVerify} // #nosec G402 -- asked for
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s has no certificate in PEM", c.CA)
		}
	}
	if c.Cert != "" {
		cert, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("cert and key: %w", err)
		}
		secure.Certificates = []tls.Certificate{cert}
	}
	return secure, nil
}

// URL is where the client sends, without secrets, for status and logs.
func (c *Client) URL() string { return c.config.URL }

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Post sends a body and returns the answer of a request that succeeded (2xx), of which it reads 8 MiB at most. An error says
// what the host is to do: it is a *logship.Rejection if the server will not take this body (400, 413, 422), and a
// *logship.Delay if it says when to come back (Retry-After). All else is to be tried again: also what looks like a wrong
// configuration, as somebody will mend it. The ID is sent as Idempotency-Key.
func (c *Client) Post(ctx context.Context, contentType, id string, body []byte) ([]byte, error) {
	sent, err := c.compressor.Compress(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.URL, bytes.NewReader(sent))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	c.dress(req, contentType, id)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("sending to the receiver: %w", withoutURL(err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer))
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		if err != nil { // the status alone may be enough, but not to whoever reads the answer
			return nil, fmt.Errorf("reading the receiver's answer: %w", err)
		}
		return answer, nil
	}
	return nil, judge(resp, answer)
}

// withoutURL takes the URL out of an error, which goes to logs and status: its query may be a secret.
func withoutURL(err error) error {
	var quoting *url.Error
	if errors.As(err, &quoting) {
		return quoting.Err
	}
	return err
}

func (c *Client) dress(req *http.Request, contentType, id string) {
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "gatehouse/"+version())
	if id != "" {
		req.Header.Set("Idempotency-Key", strconv.Quote(id))
	}
	if coding := c.compressor.Coding(); coding != "" {
		req.Header.Set("Content-Encoding", coding)
	}
	switch {
	case c.config.Bearer != "":
		req.Header.Set("Authorization", "Bearer "+c.config.Bearer)
	case c.config.Username != "":
		req.SetBasicAuth(c.config.Username, c.config.Password)
	}
	for name, value := range c.config.Headers {
		req.Header.Set(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
}

func version() string {
	short, _ := caddy.Version()
	return short
}

// judge turns an answer that is no success into what the host is to do.
func judge(resp *http.Response, answer []byte) error {
	err := fmt.Errorf("the receiver answered %s%s", resp.Status, quoted(answer))
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return &logship.Rejection{Err: err}
	}
	if after, ok := retryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
		return &logship.Delay{After: after, Err: err}
	}
	return err
}

// quoted is the beginning of an answer, for people.
func quoted(answer []byte) string {
	text := strings.TrimSpace(strings.ToValidUTF8(string(answer[:min(len(answer), maxQuoted)]), ""))
	if text == "" {
		return ""
	}
	return ": " + strconv.Quote(text)
}

// retryAfter reads the header field (RFC 9110, section 10.2.3): a number of seconds, or a date.
func retryAfter(value string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(value)
	return max(at.Sub(now), 0), err == nil
}
