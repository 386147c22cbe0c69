// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// numbered is the end of a GET's URI before its number.
	numbered = "/bytes/512?n="
	// patience is how long a client tries.
	patience = 20 * time.Second
	// getters are the clients that GET, orderers those that POST, each order of theirs twice at once.
	getters, orderers = 16, 12
	// site is the Host of all requests: the proxies stand for one.
	site = "site.example"
)

// load is what clients do all the time, and what they were told.
type load struct {
	*world
	client *http.Client
	number atomic.Int64

	mu     sync.Mutex
	whole  [][]int // numbers of GETs that were answered whole, by proxy
	orders map[string]*story
}

// story is what the two clients of an order were told.
type story struct {
	mu      sync.Mutex
	answers map[string]bool // different bodies of 201
	unknown bool            // told that nobody knows
	wedged  bool            // neither, in the end
}

func (w *world) newLoad() *load {
	return &load{world: w, client: newClient(10 * time.Second), whole: make([][]int, proxies), orders: map[string]*story{}}
}

// run sends until ctx ends; what has begun then is finished.
func (l *load) run(ctx context.Context) {
	defer l.client.CloseIdleConnections()
	var group sync.WaitGroup
	begun := time.Now()
	for c := range getters {
		group.Go(func() {
			for made := 0; ctx.Err() == nil; {
				if due := int(time.Since(begun).Seconds() * float64(l.rate) / getters); made >= due {
					time.Sleep(2 * time.Millisecond)
					continue
				}
				made++
				l.get(c + made)
			}
		})
	}
	for c := range orderers {
		chance := rand.New(rand.NewPCG(l.seed, uint64(c)))
		group.Go(func() {
			for made := 0; ctx.Err() == nil; made++ {
				l.buy(fmt.Sprintf("order-%d-%d", c, made))
				time.Sleep(time.Duration(50+chance.IntN(200)) * time.Millisecond)
			}
		})
	}
	group.Wait()
}

// request sends to a proxy, and returns what came whole.
func (w *world) request(client *http.Client, p *proxy, method, uri string, header ...string) (status int, body string, fields http.Header, err error) {
	var content io.Reader
	if method == http.MethodPost {
		content = strings.NewReader(`{"item":1}`)
	}
	req, err := http.NewRequest(method, "http://"+p.address+uri, content)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	req.Host = site
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), resp.Header, err
}

// get asks one proxy after the other until one answers. Only a broken connection is a reason to ask another one: an answer
// other than 200 is a failed GET.
func (l *load) get(first int) {
	n := int(l.number.Add(1))
	uri := fmt.Sprint(numbered, n)
	l.found.gets.Add(1)
	for try, end := 0, time.Now().Add(patience); ; try++ {
		p := l.proxies[(first+try)%proxies]
		status, _, _, err := l.request(l.client, p, http.MethodGet, uri)
		switch {
		case err == nil && status == http.StatusOK:
			l.mu.Lock()
			l.whole[p.number] = append(l.whole[p.number], n)
			l.mu.Unlock()
			return
		case err == nil:
			l.found.failedGETs.note("during %s: status %d of proxy %d", l.phase.Load(), status, p.number)
			return
		case time.Now().After(end):
			l.found.failedGETs.note("during %s: %v", l.phase.Load(), err)
			return
		}
		l.found.elsewhere.Add(1)
		time.Sleep(5 * time.Millisecond)
	}
}

// buy places an order by two clients at once, who do not give up.
func (l *load) buy(key string) {
	s := &story{answers: map[string]bool{}}
	l.mu.Lock()
	l.orders[key] = s
	l.mu.Unlock()
	var both sync.WaitGroup
	for first := range 2 {
		both.Go(func() { l.insist(key, s, first) })
	}
	both.Wait()
}

// insist sends an order until its outcome is known or known to be unknown.
func (l *load) insist(key string, s *story, first int) {
	for try, end := first, time.Now().Add(patience); time.Now().Before(end); try++ {
		l.found.posts.Add(1)
		status, body, _, err := l.request(l.client, l.proxies[try%proxies], http.MethodPost, "/orders", "Idempotency-Key", key)
		if err == nil && s.hear(status, body) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// hear notes an answer, and reports whether it is the last word.
func (s *story) hear(status int, body string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case status == http.StatusCreated:
		s.answers[body] = true
		return true
	case status == http.StatusConflict && strings.Contains(body, "#outcome-unknown"):
		s.unknown = true
		return true
	}
	return false
}

// askAgain asks for each order when all is whole: each must have a last word by now.
func (l *load) askAgain(ctx context.Context) {
	slots := make(chan struct{}, getters)
	var group sync.WaitGroup
	for key, s := range l.orders {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			for end := time.Now().Add(patience / 2); ; time.Sleep(20 * time.Millisecond) {
				status, body, _, err := l.request(l.client, l.proxies[1], http.MethodPost, "/orders", "Idempotency-Key", key)
				if err == nil && s.hear(status, body) {
					break
				}
				if time.Now().After(end) || ctx.Err() != nil {
					s.wedged = true
					break
				}
			}
		})
	}
	group.Wait()
}

// sum compares what clients were told with what took effect.
func (l *load) sum() {
	for key, s := range l.orders {
		effects := l.app.Effects(key)
		l.found.orders.Add(1)
		if effects > 1 {
			l.found.duplicates.note("%s took effect %d times", key, effects)
		}
		if len(s.answers) > 0 && effects == 0 {
			l.found.lostOrders.note("%s was confirmed and took no effect", key)
		}
		if len(s.answers) > 1 {
			l.found.divergent.note("%s got %d different answers", key, len(s.answers))
		}
		if s.wedged {
			l.found.wedged.note("%s has no answer in the end", key)
		}
		if s.unknown && len(s.answers) == 0 {
			l.found.unknown.Add(1)
		}
	}
}
