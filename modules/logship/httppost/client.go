// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package httppost

import (
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
	// pingAfter is how long an HTTP/2 connection may be silent before it is tested, pingTimeout how long the test may take.
	// Without it, the transport would send batch after batch on a connection whose other end is gone.
	pingAfter   = 5 * time.Second
	pingTimeout = 5 * time.Second
	// maxHeader bounds the header section of an answer, in bytes.
	maxHeader = 64 << 10
	// maxQuoted is how much of an answer appears in an error.
	maxQuoted = 200
)

// Client sends batches to one URL. It is safe for concurrent use.
type Client struct {
	config Config
	coding string // a content coding
	answer int64  // how much of an answer is read
	http   http.Client
}

// NewClient resolves the configuration. It does not connect; it reads the files of TLS. coding is the content coding if the
// configuration names none, answer the most bytes that Post returns of an answer.
func NewClient(config Config, coding string, answer int64) (*Client, error) {
	resolved, err := config.resolve()
	if err != nil {
		return nil, err
	}
	if resolved.Compress != "" {
		coding = resolved.Compress
	}
	secure, err := resolved.TLS()
	if err != nil {
		return nil, err
	}
	c := &Client{config: resolved, coding: coding, answer: answer}
	c.http.Transport = &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        secure,
		TLSHandshakeTimeout:    dialTimeout,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        idleTimeout,
		WriteBufferSize:        64 << 10,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // of answers
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

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Post sends the body that write appends, and returns the answer of a request that succeeded (2xx), up to the client's limit. An
// error says what the host is to do: it is a *logship.Rejection if the server will not take this body (400, 413, 422), and a
// *logship.Delay if it says when to come back (Retry-After). All else is to be tried again: also what looks like a wrong
// configuration, as somebody will mend it. Where the server has answered, there is a *StatusError in it. The ID is sent as
// Idempotency-Key.
func (c *Client) Post(ctx context.Context, contentType, id string, write func(dst []byte) []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	c.dress(req, contentType, id)
	b := c.encode(write)
	defer b.done()
	b.attach(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("sending to the receiver: %w", withoutURL(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxQuoted)) // the status is what counts
		return nil, judge(resp, answer)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, c.answer))
	if err != nil { // the status alone may be enough, but not to whoever reads the answer
		return nil, fmt.Errorf("reading the receiver's answer: %w", err)
	}
	return answer, nil
}

// encode returns the body in the client's content coding.
func (c *Client) encode(write func(dst []byte) []byte) *body {
	b := take(&plain)
	b.text = write(b.text)
	if c.coding == None {
		return b
	}
	defer b.done()
	z := take(&compressed)
	z.text = Compress(c.coding, z.text, b.text)
	return z
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
	if c.coding != None {
		req.Header.Set("Content-Encoding", c.coding)
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

// StatusError is an answer that is no success.
type StatusError struct {
	// Code is its status code.
	Code int
	// Status is the code with its reason phrase.
	Status string
	// Answer is the beginning of what it said.
	Answer string
}

// Error implements error.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("the receiver answered %.100q", e.Status)
	if e.Answer != "" {
		text += ": " + strconv.Quote(e.Answer)
	}
	return text
}

// judge turns an answer that is no success into what the host is to do.
func judge(resp *http.Response, answer []byte) error {
	err := &StatusError{
		Code: resp.StatusCode, Status: resp.Status, Answer: strings.TrimSpace(strings.ToValidUTF8(string(answer), "")),
	}
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return &logship.Rejection{Err: err}
	}
	if after, ok := retryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
		return &logship.Delay{After: after, Err: err}
	}
	return err
}

// retryAfter reads the header field (RFC 9110, section 10.2.3): a number of seconds, or a date.
func retryAfter(value string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(value)
	return max(at.Sub(now), 0), err == nil
}
