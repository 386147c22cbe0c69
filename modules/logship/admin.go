// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/adminapi"
)

// maxTail bounds the lines of one answer.
const maxTail = 10_000

func init() { caddy.RegisterModule(Admin{}) }

// Admin serves the spools on the admin endpoint:
//
//	GET  /gatehouse/logs                                  the state of every spool
//	GET  /gatehouse/logs/tail?spool=/path&limit=10&after=17   lines that a spool still holds
//	POST /gatehouse/logs/replay?spool=/path&sink=http     sends a sink's dead letters again
//
// spool may be left out where there is one only, and so may sink.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.gatehouse_logs", New: func() caddy.Module { return new(Admin) }}
}

// Routes implements caddy.AdminRouter.
func (Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/gatehouse/logs", Handler: adminapi.Methods{http.MethodGet: serveStatus}},
		{Pattern: "/gatehouse/logs/tail", Handler: adminapi.Methods{http.MethodGet: serveTail}},
		{Pattern: "/gatehouse/logs/replay", Handler: adminapi.Methods{http.MethodPost: serveReplay}},
	}
}

func serveStatus(*http.Request) (any, error) {
	all := []Status{}
	for _, c := range running() {
		if st, ok := c.status(); ok {
			all = append(all, st)
		}
	}
	return all, nil
}

// chosen is the spool that the query names, or the only one.
func chosen(r *http.Request) (*core, error) {
	all, dir := running(), r.URL.Query().Get("spool")
	var dirs []string
	for _, c := range all {
		if c.dir == dir || dir == "" && len(all) == 1 {
			return c, nil
		}
		dirs = append(dirs, c.dir)
	}
	if len(all) == 0 {
		return nil, adminapi.Refuse(http.StatusNotFound, "the running config ships no log: add `output ship` to a log")
	}
	return nil, adminapi.Refuse(http.StatusNotFound, "spool: expected one of %s", strings.Join(dirs, ", "))
}

// number reads a parameter of the query.
func number(r *http.Request, name string, otherwise, high uint64) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > high {
		return 0, adminapi.Refuse(http.StatusBadRequest, "%s: expected a whole number up to %d, found %q", name, high, text)
	}
	return n, nil
}

// tailAnswer is a part of what a spool holds.
type tailAnswer struct {
	// Lines are in their order.
	Lines []tailLine `json:"lines"`
	// Next is what to pass as after for the lines that follow.
	Next uint64 `json:"next"`
}

// tailLine is one line.
type tailLine struct {
	// Seq is its number.
	Seq uint64 `json:"seq"`
	// Time is when it was written.
	Time time.Time `json:"time"`
	// Line is the line; bytes that are not UTF-8 are replaced.
	Line string `json:"line"`
}

func serveTail(r *http.Request) (any, error) {
	c, err := chosen(r)
	if err != nil {
		return nil, err
	}
	if err := c.opened(); err != nil {
		return nil, adminapi.Refuse(http.StatusServiceUnavailable, "the spool cannot be opened: %w", err)
	}
	s := c.spool.Load()
	limit, err := number(r, "limit", 10, maxTail)
	if err != nil {
		return nil, err
	}
	last := s.Status().Accepted
	after, err := number(r, "after", last-min(last, limit), math.MaxUint64)
	if err != nil {
		return nil, err
	}
	lines, err := s.Tail(after, int(limit))
	if err != nil {
		return nil, adminapi.Refuse(http.StatusInternalServerError, "reading the spool: %w", err)
	}
	answer := tailAnswer{Lines: []tailLine{}, Next: after}
	for _, line := range lines {
		answer.Lines = append(answer.Lines, tailLine{line.Seq, line.Time, strings.ToValidUTF8(string(line.Data), "\uFFFD")})
		answer.Next = line.Seq
	}
	return answer, nil
}

func serveReplay(r *http.Request) (any, error) {
	c, err := chosen(r)
	if err != nil {
		return nil, err
	}
	sh, err := c.shipper(r.URL.Query().Get("sink"))
	if err != nil {
		return nil, err
	}
	sum, err := sh.replay()
	if err != nil {
		return nil, adminapi.Refuse(http.StatusBadGateway, "%d lines were delivered, then: %w", sum.Delivered, err)
	}
	return sum, nil
}

// shipper is the one of that name, or the only one.
func (c *core) shipper(name string) (*shipper, error) {
	if err := c.opened(); err != nil {
		return nil, adminapi.Refuse(http.StatusServiceUnavailable, "the spool cannot be opened: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for n, sh := range c.shippers {
		if n == name || name == "" && len(c.shippers) == 1 {
			return sh, nil
		}
		names = append(names, n)
	}
	slices.Sort(names)
	return nil, adminapi.Refuse(http.StatusNotFound, "sink: expected one of %s", strings.Join(names, ", "))
}

// Interface guard
var _ caddy.AdminRouter = (*Admin)(nil)
