// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	defaultCheckURI      = "/"
	defaultCheckInterval = caddy.Duration(10 * time.Second)
	defaultCheckTimeout  = caddy.Duration(2 * time.Second)
	defaultCheckJitter   = 0.1
	defaultCheckFails    = 3
	defaultCheckPasses   = 2
	shortestCheck        = caddy.Duration(time.Millisecond)
	longestCheck         = caddy.Duration(24 * time.Hour)
	largestCheckJitter   = 0.5
	mostChecksInARow     = 1000
	successOnly          = 2
	// maxCheckBody is how much of an answer's body is looked at, in bytes.
	maxCheckBody = 64 << 10
)

// Health describes active checks: requests of the proxy's own, at intervals, to every upstream of the handler, those of a
// dynamic source included while they are in the pool. A policy sends no requests to an upstream that is down.
//
// Checks go through the handler's transport, so they use its TLS and protocol, but they enter no statistics, and
// max_conns_per_host does not make them wait for requests. Verdicts and counts outlive reloads, also rejected ones,
// as long as the checks stay the same. An upstream whose address has request placeholders is not checked.
type Health struct {
	// URI is the path and query to request. Default: /.
	URI string `json:"uri,omitempty"`

	// Method is the request's method. Default: GET.
	Method string `json:"method,omitempty"`

	// Headers are header fields to send. Host sets the request's host, which otherwise is the upstream's. Placeholders that
	// do not depend on a request, such as {env.TOKEN}, are expanded when the config is loaded. Default: none.
	Headers http.Header `json:"headers,omitempty"`

	// Port is the port to check, if it is not the one that requests go to. Default, also for zero: the upstream's.
	Port int `json:"port,omitempty"`

	// Interval is the time from one check of an upstream to the next, from 1ms to 24h. Default, also for zero: 10s.
	Interval caddy.Duration `json:"interval,omitempty"`

	// Timeout is how long a check may take, its answer's body included, from 1ms to 24h. Default, also for zero: 2s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// Jitter is the part of the interval by which each one is made longer or shorter at random, from 0 to 0.5, so that
	// proxies and upstreams fall out of step. Default: 0.1; zero means none.
	Jitter *float64 `json:"jitter,omitempty"`

	// Fails is how many checks in a row must fail for an upstream to go down, up to 1000. Default, also for zero: 3.
	Fails int `json:"fails,omitempty"`

	// Passes is how many checks in a row must pass for an upstream to come up, up to 1000. Default, also for zero: 2.
	Passes int `json:"passes,omitempty"`

	// Status are the statuses that pass, from 100 to 599; a digit from 1 to 5 stands for the whole class. Redirects are not
	// followed. Default, also if empty: 2, that is 200 to 299.
	Status []int `json:"status,omitempty"`

	// Body is a regular expression (https://pkg.go.dev/regexp/syntax) that must match in the first 64 KiB of the body.
	// Default: any body passes.
	Body string `json:"body,omitempty"`

	// Initial is what an upstream is taken for before its first check: "up" or "down", which change as usual, or "unknown",
	// which is used like "up" until the first check decides. Default: up.
	Initial string `json:"initial,omitempty"`

	// FailClosed has requests refused when no upstream is left but those that are down. By default they get requests then:
	// when every check fails, it is more likely the check that is wrong. Default: false.
	FailClosed bool `json:"fail_closed,omitempty"`
}

// check is a Health made ready: what to send, when, and what to expect.
type check struct {
	key    string // tells apart checks that differ in anything
	target string // tells apart checks that differ in what they send or expect

	method   string
	uri      *url.URL
	headers  http.Header
	host     string         // overrides the upstream's; may be empty
	port     int            // 0 means the upstream's
	statuses []int          // as caddyhttp.StatusCodeMatches has them
	body     *regexp.Regexp // nil if any body passes

	interval, timeout time.Duration
	jitter            float64
	limits            thresholds
	initial           verdict
	failClosed        bool
}

// parse checks the options and gives those that are left out their defaults. The same checks through another transport,
// of which description is all that matters, are other checks.
func (h *Health) parse(transport []byte) (*check, error) {
	o := *h
	def(&o.URI, defaultCheckURI)
	def(&o.Method, http.MethodGet)
	def(&o.Interval, defaultCheckInterval)
	def(&o.Timeout, defaultCheckTimeout)
	def(&o.Fails, defaultCheckFails)
	def(&o.Passes, defaultCheckPasses)
	if o.Jitter == nil {
		o.Jitter = new(float64)
		*o.Jitter = defaultCheckJitter
	}
	if len(o.Status) == 0 {
		o.Status = []int{successOnly}
	}
	if err := o.checkTempo(); err != nil {
		return nil, err
	}
	c := &check{
		method: o.Method, port: o.Port, interval: time.Duration(o.Interval), timeout: time.Duration(o.Timeout), jitter: *o.Jitter,
		limits: thresholds{fails: o.Fails, passes: o.Passes}, failClosed: o.FailClosed,
	}
	if err := c.parseRequest(&o); err != nil {
		return nil, err
	}
	if err := c.parseExpectation(&o); err != nil {
		return nil, err
	}
	return c, c.name(o, transport)
}

// checkTempo checks when and how often to check, and how often in a row.
func (h *Health) checkTempo() error {
	for _, d := range []struct {
		name  string
		value caddy.Duration
	}{{"interval", h.Interval}, {"timeout", h.Timeout}} {
		if d.value < shortestCheck || d.value > longestCheck {
			return fmt.Errorf("%s: expected a duration from 1ms to 24h, found %s", d.name, time.Duration(d.value))
		}
	}
	for _, n := range []struct {
		name  string
		value int
	}{{"fails", h.Fails}, {"passes", h.Passes}} {
		if n.value < 1 || n.value > mostChecksInARow {
			return fmt.Errorf("%s: expected a whole number from 1 to %d, found %d", n.name, mostChecksInARow, n.value)
		}
	}
	if !(*h.Jitter >= 0 && *h.Jitter <= largestCheckJitter) { // the negation catches NaN too
		return fmt.Errorf("jitter: expected 0 to %g, found %g", largestCheckJitter, *h.Jitter)
	}
	if h.Port < 0 || h.Port > 65535 {
		return fmt.Errorf("port: expected 1 to 65535, found %d", h.Port)
	}
	return nil
}

// parseRequest checks what is sent.
func (c *check) parseRequest(h *Health) error {
	if !isToken(h.Method) {
		return fmt.Errorf("method: %q is none", h.Method)
	}
	if !strings.HasPrefix(h.URI, "/") {
		return fmt.Errorf("uri: expected a path that begins with a slash, found %q", h.URI)
	}
	uri, err := url.ParseRequestURI(h.URI)
	if err != nil {
		return fmt.Errorf("uri: %w", err)
	}
	c.uri = &url.URL{Path: uri.Path, RawPath: uri.RawPath, RawQuery: uri.RawQuery}
	repl := caddy.NewReplacer()
	c.headers = http.Header{}
	for name, values := range h.Headers {
		if !isToken(name) {
			return fmt.Errorf("headers: %q is no header field's name", name)
		}
		for _, value := range values {
			value = repl.ReplaceKnown(value, "")
			if strings.ContainsFunc(value, isControl) {
				return fmt.Errorf("headers: the value of %s has characters that cannot be sent", name)
			}
			c.headers.Add(name, value)
		}
	}
	c.host = c.headers.Get("Host")
	c.headers.Del("Host")
	if c.headers.Get("User-Agent") == "" {
		c.headers.Set("User-Agent", "gatehouse-health-check")
	}
	return nil
}

// parseExpectation checks what must come back, and what is believed before anything did.
func (c *check) parseExpectation(h *Health) (err error) {
	for _, status := range h.Status {
		if err := checkStatus(status); err != nil {
			return fmt.Errorf("status: %w", err)
		}
	}
	c.statuses = h.Status
	if h.Body != "" {
		if c.body, err = regexp.Compile(h.Body); err != nil {
			return fmt.Errorf("body: %w", err)
		}
		if c.method == http.MethodHead {
			return errors.New("body: an answer to HEAD has none")
		}
	}
	if c.initial, err = parseVerdict(h.Initial); err != nil {
		return fmt.Errorf("initial: %w", err)
	}
	return nil
}

// name sets the keys, from options whose defaults are filled in. They are hashed, as headers may hold secrets.
func (c *check) name(h Health, transport []byte) error {
	all, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("naming the check: %w", err)
	}
	target, err := json.Marshal(Health{URI: h.URI, Method: h.Method, Headers: c.headers, Port: h.Port, Status: h.Status, Body: h.Body})
	c.key, c.target = digest(all, transport), digest(target, transport)
	return err
}

func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, part := range parts {
		_, _ = h.Write(part) // never fails
		_, _ = h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// String is how logs and the admin endpoint name the check.
func (c *check) String() string { return c.method + " " + c.uri.RequestURI() }

// isToken reports whether s may be a method or a header field's name (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// isControl reports whether r may not stand in a header field's value (RFC 9110, section 5.5).
func isControl(r rune) bool { return (r < ' ' && r != '\t') || r == 0x7f }

// accepts reports whether a status passes.
func (c *check) accepts(status int) bool {
	return slices.ContainsFunc(c.statuses, func(configured int) bool { return caddyhttp.StatusCodeMatches(status, configured) })
}

// next is the time from the start of a check to the start of the next one, for a random number in [0, 1).
func (c *check) next(random float64) time.Duration {
	return time.Duration(float64(c.interval) * (1 + c.jitter*(2*random-1)))
}

// first is the time from the start of the config to the first check: soon, but not of all upstreams at once.
func (c *check) first(random float64) time.Duration {
	return time.Duration(float64(min(c.interval, time.Second)) * random)
}

// staleAfter is how long a verdict counts that nobody renews.
func (c *check) staleAfter() time.Duration { return max(3*c.interval, time.Minute) }

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}
