// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// atOnce is how many keys are worked on at the same time.
const atOnce = 24

// story is what the clients of one key were told.
type story struct {
	mu      sync.Mutex
	answers map[string]bool // different bodies of 201
	unknown bool            // the last word was that the outcome is unknown
	wedged  bool
}

// try is one run.
func (s settings) try(ctx context.Context) (findings, error) {
	w, err := s.build(ctx)
	defer w.tearDown()
	if err != nil {
		return findings{}, err
	}
	lab.Say(os.Stderr, "%d proxies run; %d keys are sent by %d clients each", s.proxies, s.keys, s.duplicates)
	begun := time.Now()
	breaking, stop := context.WithCancel(ctx)
	var broken sync.WaitGroup
	broken.Go(func() { w.breakThings(breaking) })
	stories := w.sendAll(ctx)
	stop()
	broken.Wait()
	w.askAgain(ctx, stories)
	return w.sum(stories, time.Since(begun)), ctx.Err()
}

func (w *world) key(n int) string { return fmt.Sprintf("seed-%d-key-%d", w.seed, n) }

// sendAll sends every key by all of its clients.
func (w *world) sendAll(ctx context.Context) []*story {
	stories := make([]*story, w.keys)
	slots := make(chan struct{}, atOnce)
	var group sync.WaitGroup
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	defer client.CloseIdleConnections()
	for n := range stories {
		stories[n] = &story{answers: map[string]bool{}}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			var clients sync.WaitGroup
			for i := range w.duplicates {
				clients.Go(func() { w.insist(ctx, client, stories[n], w.key(n), uint64(n*w.duplicates+i)) })
			}
			clients.Wait()
		})
	}
	group.Wait()
	return stories
}

// insist sends a request until there is an answer, through another proxy each time, as a client does that wants its order.
func (w *world) insist(ctx context.Context, client *http.Client, s *story, key string, number uint64) {
	chance := rand.New(rand.NewPCG(w.seed, number))
	for end := time.Now().Add(w.patience); time.Now().Before(end) && ctx.Err() == nil; {
		attempt, cancel := context.WithCancel(ctx)
		if w.faults.leave && chance.IntN(10) == 0 {
			time.AfterFunc(time.Duration(chance.IntN(50))*time.Millisecond, cancel)
		}
		final := w.send(attempt, client, s, key, chance)
		cancel()
		if final {
			return
		}
		time.Sleep(time.Duration(10+chance.IntN(60)) * time.Millisecond)
	}
}

// send sends once, and reports whether the answer settles the matter.
func (w *world) send(ctx context.Context, client *http.Client, s *story, key string, chance *rand.Rand) bool {
	proxy := w.proxies[chance.IntN(len(w.proxies))]
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+proxy.address+"/orders", strings.NewReader(orderOf(key)))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	req.Header.Set("Idempotency-Key", `"`+key+`"`)
	w.requests.Add(1)
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return false
	}
	return s.hear(resp.StatusCode, string(body))
}

// orderOf is a key's body; about every third has none, as Go's transport treats these otherwise.
func orderOf(key string) string {
	if fate(0, "body", key)%3 == 0 {
		return ""
	}
	return "an order for " + key
}

// hear notes an answer, and reports whether it is final.
func (s *story) hear(status int, body string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case status == http.StatusCreated:
		s.answers[body] = true
		s.unknown = false
		return true
	case status == http.StatusConflict && strings.Contains(body, "#outcome-unknown"):
		s.unknown = len(s.answers) == 0
		return true
	}
	return false
}

// askAgain asks for every key once more when all is whole: each must have an answer now.
func (w *world) askAgain(ctx context.Context, stories []*story) {
	ctx, cancel := context.WithTimeout(ctx, 2*w.patience)
	defer cancel()
	for _, p := range append([]*process{w.redis}, w.proxies...) {
		_ = p.answers(ctx) // one that does not shows as wedged keys
	}
	time.Sleep(2 * lease) // claims of proxies that were killed
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	slots := make(chan struct{}, atOnce)
	var group sync.WaitGroup
	for n, s := range stories {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			chance := rand.New(rand.NewPCG(w.seed, uint64(n)))
			for end := time.Now().Add(w.patience); !w.send(ctx, client, s, w.key(n), chance); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) || ctx.Err() != nil {
					s.wedged = true
					return
				}
			}
		})
	}
	group.Wait()
}

// sum compares what clients were told with what took effect.
func (w *world) sum(stories []*story, took time.Duration) findings {
	f := findings{
		settings: w.settings, took: took, requests: w.requests.Load(),
		kills: w.kills.Load(), cuts: w.cuts.Load(), reboot: w.restarts.Load(),
	}
	for n, s := range stories {
		effects := w.app.effectsOf(w.key(n))
		f.effects += effects
		f.duplicated += max(effects-1, 0)
		if len(s.answers) > 1 {
			f.divergent++
		}
		if s.wedged {
			f.wedged++
		}
		if s.unknown {
			f.unknown++
			if effects == 0 {
				f.falsely++
			}
		}
	}
	return f
}
