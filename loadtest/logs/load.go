// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// clients is how many connections the load of one writer uses.
const clients = 8

// load makes requests and remembers which responses arrived whole.
type load struct {
	address string
	running sync.WaitGroup

	mu    sync.Mutex
	whole map[string]bool // by URI
	waits []time.Duration // of the whole ones
}

func newLoad(address string) *load { return &load{address: address, whole: map[string]bool{}} }

// begin makes so many requests a second until ctx ends.
func (l *load) begin(ctx context.Context, rate int) {
	for c := range clients {
		l.running.Go(func() { l.client(ctx, c, float64(rate)/clients) })
	}
}

func (l *load) wait() { l.running.Wait() }

func (l *load) received() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.whole
}

func (l *load) client(ctx context.Context, number int, rate float64) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	begun, made := time.Now(), 0
	for ctx.Err() == nil {
		if due := int(time.Since(begun).Seconds() * rate); made >= due {
			time.Sleep(time.Millisecond)
			continue
		}
		uri := fmt.Sprintf("/%d/%d", number, made)
		made++
		sent := time.Now()
		if l.request(client, uri) {
			l.mu.Lock()
			l.whole[uri] = true
			l.waits = append(l.waits, time.Since(sent))
			l.mu.Unlock()
		} else {
			time.Sleep(10 * time.Millisecond) // it is being started again
			begun = begun.Add(10 * time.Millisecond)
		}
	}
}

// request reports whether the response arrived whole.
func (l *load) request(client *http.Client, uri string) bool {
	answer, err := client.Get("http://" + l.address + uri)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return err == nil && answer.StatusCode == http.StatusOK && string(text) == "ok"
}
