// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package front

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"
)

// wanted is what front switches on only if it is asked to: each of these changes what clients get or where data goes.
type wanted struct {
	cache       string // the budget, or empty
	limit       string // requests and period as request_limit has them, such as "100 1m", or empty
	ban         bool
	idempotency bool
	redis       string // a URL, or empty
	ship        string // a sink with its arguments, or empty
}

// parseWanted reads the options that switch capabilities on.
func parseWanted(a arguments) (w wanted, err error) {
	w.ban, w.idempotency = a.ban, a.idempotency
	if w.cache, err = parseCache(a.cache); err != nil {
		return w, fmt.Errorf("--cache %s: %w; expected the size of the cache, such as --cache=256MiB", shown(a.cache), err)
	}
	if w.limit, err = parseLimit(a.limit); err != nil {
		return w, fmt.Errorf("--limit %s: %w; expected requests and a time, such as --limit 100/1m", shown(a.limit), err)
	}
	if w.redis, err = parseURL(a.redis, "redis", "rediss"); err != nil {
		return w, fmt.Errorf("--redis %s: %w; expected a URL such as redis://127.0.0.1:6379/0", shown(a.redis), err)
	}
	if w.ship, err = parseShip(a.ship); err != nil {
		return w, fmt.Errorf("--ship %s: %w; expected the receiver of the log: a URL, loki:URL or redis", shown(a.ship), err)
	}
	switch {
	case w.ban && w.limit == "":
		return w, errors.New("--ban bans who goes on against a limit: give --limit, too")
	case w.ship == "redis" && w.redis == "":
		return w, errors.New("--ship redis needs a Redis: give --redis, too")
	case w.ship != "" && a.accessLog:
		return w, errors.New("--ship and --access-log are two places for one log; choose one")
	}
	return w, nil
}

// parseCache reads a size. The bounds are those of response_cache.
func parseCache(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if !regexp.MustCompile(`^[1-9][0-9]{0,12}[KMGT]i?B$`).MatchString(s) {
		return "", errors.New("it is no size with a unit")
	}
	n, err := humanize.ParseBytes(s)
	if err != nil || n < 1<<20 || n > 1<<40 {
		return "", errors.New("it is not from 1MiB to 1TiB")
	}
	return s, nil
}

// parseLimit reads REQUESTS/TIME. The bounds are those of request_limit.
func parseLimit(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	count, period, ok := strings.Cut(s, "/")
	if !ok {
		return "", errors.New("there is no slash")
	}
	n, err := strconv.ParseUint(count, 10, 32)
	if err != nil || n < 1 || n > 1_000_000_000 {
		return "", errors.New("the requests are no number from 1 to 1000000000")
	}
	d, err := caddy.ParseDuration(period)
	if err != nil || !regexp.MustCompile(`^[0-9a-z.]+$`).MatchString(period) {
		return "", errors.New("the time is no duration")
	}
	if d < 100*time.Millisecond || d > 366*24*time.Hour {
		return "", errors.New("the time is not from 100ms to 366d")
	}
	return fmt.Sprintf("%d %s", n, period), nil
}

// parseShip reads a receiver of log lines.
func parseShip(s string) (string, error) {
	if s == "" || s == "redis" {
		return s, nil
	}
	sink := "http"
	if rest, ok := strings.CutPrefix(s, "loki:"); ok {
		sink, s = "loki", rest
	}
	u, err := parseURL(s, "http", "https")
	if err == nil && u == "" {
		err = errors.New("the URL is missing")
	}
	return sink + " " + u, err
}

// parseURL reads a URL that may stand in a Caddyfile as it is: nothing in it opens a quote, a block, a comment or a placeholder.
func parseURL(s string, schemes ...string) (string, error) {
	if s == "" {
		return "", nil
	}
	if bad := strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("-._~:/?[]@!$&()*+,;=%", r) && !(r < 0x80 && (isDigit(r) || isLetter(r)))
	}); bad >= 0 {
		return "", fmt.Errorf("%q has no place in it", []rune(s[bad:])[0])
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", errors.New("it is no URL")
	}
	for _, scheme := range schemes {
		if u.Scheme == scheme && u.Hostname() != "" {
			return s, nil
		}
	}
	return "", fmt.Errorf("it does not begin with %s:// and a host", strings.Join(schemes, ":// or "))
}

func isDigit(r rune) bool { return '0' <= r && r <= '9' }

func isLetter(r rune) bool { return 'a' <= r|0x20 && r|0x20 <= 'z' }

// switched are the capabilities of wanted.
func switched() []capability {
	return []capability{
		{
			name:    "redis",
			module:  "redis",
			when:    func(o options) bool { return o.redis != "" },
			setting: func(o options) string { return redacted(o.redis) + ": shared by all proxies that name it" },
			lines:   func(o options) lines { return lines{inGlobal: {"redis " + o.redis}} },
		},
		{
			name:    "request limit",
			module:  "http.handlers.request_limit",
			when:    func(o options) bool { return o.limit != "" },
			setting: limitSetting,
			lines:   limitLines,
		},
		{
			name:    "response cache",
			module:  "http.handlers.response_cache",
			when:    func(o options) bool { return o.cache != "" },
			setting: func(o options) string { return o.cache + " of what the application marks as public" },
			lines:   func(o options) lines { return lines{inSite: {"response_cache " + o.cache}} },
		},
		{
			name:    "idempotency keys",
			module:  "http.handlers.idempotency_key",
			when:    func(o options) bool { return o.idempotency },
			setting: says("POST and PATCH with an Idempotency-Key take effect once"),
			lines:   add(inSite, "idempotency_key"),
		},
		{
			name:    "log shipping",
			module:  "caddy.logging.writers.ship",
			when:    func(o options) bool { return o.ship != "" },
			setting: shipSetting,
			lines: func(o options) lines {
				return lines{inSite: {"log {", "\toutput ship {", "\t\tsink " + o.ship, "\t}", "}"}}
			},
		},
	}
}

func limitSetting(o options) string {
	count, period, _ := strings.Cut(o.limit, " ")
	s := count + " requests in " + period + " for each client"
	if o.ban {
		s += "; 100 refusals in 10m ban for 1h"
	}
	return s
}

func limitLines(o options) lines {
	if !o.ban {
		return lines{inSite: {"request_limit " + o.limit}}
	}
	return lines{inSite: {"request_limit " + o.limit + " {", "\tban after 100 in 10m for 1h", "}"}}
}

func shipSetting(o options) string {
	sink, where, _ := strings.Cut(o.ship, " ")
	return strings.TrimSpace("each request to "+sink+" "+redacted(where)) + "; lines wait on the disk while it is away"
}

// redacted is a URL without its password.
func redacted(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Redacted()
}
