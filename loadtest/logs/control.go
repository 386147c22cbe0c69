// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// channelWriter is the control: a log writer as most are made. Lines go through a channel to a goroutine, which posts them once
// a second and tries three times.
type channelWriter struct {
	// URL is where to post.
	URL string `json:"url,omitempty"`
}

func (channelWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.channel", New: func() caddy.Module { return new(channelWriter) }}
}

func (w *channelWriter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.NextArg()
	w.URL = d.Val()
	return nil
}

func (w *channelWriter) String() string    { return w.URL }
func (w *channelWriter) WriterKey() string { return "channel:" + w.URL }

func (w *channelWriter) OpenWriter() (io.WriteCloser, error) {
	lines := make(channel, 65536)
	go lines.post(w.URL)
	return lines, nil
}

type channel chan []byte

func (c channel) Write(line []byte) (int, error) {
	select {
	case c <- bytes.Clone(line):
	default: // full
	}
	return len(line), nil
}

func (channel) Close() error { return nil }

func (c channel) post(url string) {
	for range time.Tick(time.Second) {
		var text bytes.Buffer
		for n := len(c); n > 0; n-- {
			text.Write(<-c)
		}
		for try := 0; try < 3 && text.Len() > 0; try++ {
			answer, err := http.Post(url, "application/x-ndjson", bytes.NewReader(text.Bytes()))
			if err == nil {
				_ = answer.Body.Close()
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}
