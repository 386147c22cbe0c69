// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

const (
	// limit is that of a burst's client, in an hour: nothing of it comes back during a run.
	limit = 20
	// promptly is when a ban, its end and a purge must hold on every proxy.
	promptly = 2 * time.Second
	// banned is who is banned from the beginning to the end.
	banned = "203.0.113.66"
)

// watch sends bursts, and asks as a banned client, until ctx ends.
func (l *load) watch(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() {
		for n := 0; lab.SleepUntil(ctx, time.Now().Add(400*time.Millisecond)); n++ {
			l.burst(fmt.Sprintf("burst-%d", n))
		}
	})
	group.Go(func() {
		for n := 0; lab.SleepUntil(ctx, time.Now().Add(10*time.Millisecond)); n++ {
			p := l.proxies[n%proxies]
			before := p.up.Load()
			if p.servesFor() < promptly { // it may have to hear of the bans
				continue
			}
			status, err := l.as(p, banned)
			if err == nil && status != http.StatusForbidden && p.up.Load() == before {
				l.found.leaks.note("during %s: a banned client got status %d from proxy %d", l.phase.Load(), status, p.number)
			}
			l.found.asBanned.Add(1)
		}
	})
	group.Wait()
}

// burst sends more at once than a limit allows, from a client of its own, over all proxies.
func (l *load) burst(name string) {
	const requests = limit + limit/2
	before := l.outages.Load()
	var passed, refused, broken atomic.Int64
	var group sync.WaitGroup
	for i := range requests {
		group.Go(func() {
			status, _, _, err := l.request(l.client, l.proxies[i%proxies], http.MethodGet, "/bytes/128", "X-Burst", name)
			switch {
			case err != nil:
				broken.Add(1)
			case status == http.StatusOK:
				passed.Add(1)
			case status == http.StatusTooManyRequests:
				refused.Add(1)
			}
		})
	}
	group.Wait()
	l.found.bursts.Add(1)
	l.found.limited.Add(refused.Load())
	healthy := before%2 == 0 && l.outages.Load() == before
	switch most := passed.Load(); {
	case healthy && most > limit:
		l.found.over.note("during %s: %d of %d allowed requests passed", l.phase.Load(), most, limit)
	case most > 2*limit:
		l.found.over.note("during an outage of Redis: %d passed, more than what Redis and the proxies by themselves allow", most)
	case !healthy:
		l.found.localMost.raise(most)
	}
	if healthy && broken.Load() == 0 && refused.Load() > requests-limit {
		l.found.under.note("during %s: %d of %d requests were refused, with a limit of %d", l.phase.Load(), refused.Load(), requests, limit)
	}
}

// as asks as another client.
func (l *load) as(p *proxy, address string) (status int, err error) {
	status, _, _, err = l.request(l.client, p, http.MethodGet, "/status/200", "X-Forwarded-For", address)
	return status, err
}

// ban bans clients through one proxy after the other, and lets them in again; all proxies must follow.
func (l *load) ban(ctx context.Context) error {
	for i, p := range l.proxies {
		address := fmt.Sprintf("198.51.100.%d", i+1)
		err := p.order(ctx, http.MethodPost, "/gatehouse/bans", map[string]any{"prefixes": []string{address}, "for": "1h"})
		if err != nil {
			return err
		}
		l.follow(&l.found.leaks, "the ban of "+address, func(q *proxy) bool {
			status, err := l.as(q, address)
			return err == nil && status == http.StatusForbidden
		})
		if err := p.order(ctx, http.MethodDelete, "/gatehouse/bans?prefix="+address, nil); err != nil {
			return err
		}
		l.follow(&l.found.wronged, "the end of the ban of "+address, func(q *proxy) bool {
			status, err := l.as(q, address)
			return err == nil && status == http.StatusOK
		})
	}
	return nil
}

// follow waits until something is so on every proxy, and notes those on which it is not in time.
func (l *load) follow(late *count, what string, so func(*proxy) bool) {
	begun := time.Now()
	var group sync.WaitGroup
	for _, p := range l.proxies {
		group.Go(func() {
			for !so(p) {
				if time.Since(begun) > promptly {
					late.note("%s did not hold on proxy %d after %s", what, p.number, promptly)
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
			l.found.slowest.raise(time.Since(begun).Microseconds())
		})
	}
	group.Wait()
}

// purge changes what is in every cache, and purges it through one proxy: all must have the new version, and keep it.
func (l *load) purge(ctx context.Context) error {
	for i, p := range l.proxies {
		uri := fmt.Sprintf("/cache/max-age?age=3600&n=%s-%d", strconv.FormatInt(time.Now().UnixNano(), 36), i)
		if err := l.fill(uri); err != nil {
			return err
		}
		version, err := l.change(ctx)
		if err != nil {
			return err
		}
		purges := []map[string]any{{"kind": "url", "value": "http://" + site + uri}}
		if err := p.order(ctx, http.MethodPost, "/gatehouse/cache/purge", map[string]any{"purges": purges}); err != nil {
			return err
		}
		l.found.purges.Add(1)
		fresh := func(q *proxy) bool {
			_, body, _, err := l.request(l.client, q, http.MethodGet, uri)
			_, text, found := strings.Cut(strings.TrimSpace(body), "version ")
			got, numberErr := strconv.Atoi(text)
			return err == nil && found && numberErr == nil && got >= version
		}
		if !fresh(p) {
			l.found.stale.note("proxy %d served a stale answer after it had answered the purge", p.number)
		}
		l.follow(&l.found.stale, "a purge", fresh)
		for _, q := range l.proxies {
			if !l.control && !fresh(q) {
				l.found.stale.note("proxy %d served a stale answer after a fresh one", q.number)
			}
		}
	}
	return nil
}

// fill has every proxy store an answer.
func (l *load) fill(uri string) error {
	for _, q := range l.proxies {
		for range 2 {
			if _, _, _, err := l.request(l.client, q, http.MethodGet, uri); err != nil {
				return fmt.Errorf("filling the cache of proxy %d: %w", q.number, err)
			}
		}
	}
	return nil
}

// change makes the upstreams' resource another one.
func (l *load) change(ctx context.Context) (version int, err error) {
	status, answer, err := ask(ctx, http.MethodPost, "http://"+l.origins[upstreams-1].address+"/cache/max-age", "", "")
	if err != nil || status != http.StatusOK {
		return 0, fmt.Errorf("changing a resource: status %d: %w", status, err)
	}
	_, text, _ := strings.Cut(answer, `"version":`)
	version, err = strconv.Atoi(strings.Trim(text, " }"))
	if err != nil {
		return 0, fmt.Errorf("changing a resource: %q: %w", answer, err)
	}
	return version, nil
}
