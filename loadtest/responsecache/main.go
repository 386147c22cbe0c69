// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command responsecache measures what a hit of response_cache costs: CPU for each request beside Caddy's own respond, and
// throughput of large answers beside nginx' proxy_cache. It starts both proxies and an upstream on free loopback ports.
//
//	go build -o bin/gatehouse ./cmd/gatehouse
//	go run ./loadtest/responsecache -gatehouse bin/gatehouse -nginx nginx
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// measurement is one row of the report.
type measurement struct {
	name    string
	process *process
	address string
	path    string
	header  string
}

func main() {
	gatehouse := flag.String("gatehouse", "bin/gatehouse", "the proxy")
	nginx := flag.String("nginx", "", "nginx, to compare with; empty leaves it out")
	duration := flag.Duration("duration", 3*time.Second, "how long each measurement takes")
	rounds := flag.Int("rounds", 3, "how often each is repeated; the best one counts")
	connections := flag.Int("connections", 16, "how many connections ask at once")
	flag.Parse()
	if err := run(*gatehouse, *nginx, *duration, *rounds, *connections); err != nil {
		log.Fatal(err)
	}
}

func run(gatehouse, nginx string, duration time.Duration, rounds, connections int) error {
	dir, err := os.MkdirTemp("", "responsecache")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	upstream, err := startUpstream()
	if err != nil {
		return err
	}
	ports := []string{free(), free(), free(), free()}
	caddyfile := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(caddyfile, []byte(config(ports, upstream)), 0o600); err != nil {
		return err
	}
	proxy, err := start(gatehouse, "run", "--config", caddyfile)
	if err != nil {
		return err
	}
	defer proxy.stop()
	rows := []measurement{
		{name: "respond, 1 KiB", process: proxy, address: ports[0], path: "/"},
		{name: "hit, 1 KiB", process: proxy, address: ports[1], path: "/1024"},
		{name: "hit, 16 KiB of text", process: proxy, address: ports[1], path: "/16384"},
		{name: "hit, 16 KiB of text, gzip", process: proxy, address: ports[1], path: "/16384", header: "Accept-Encoding: gzip\r\n"},
		{name: "hit, 256 KiB", process: proxy, address: ports[1], path: "/262144"},
	}
	if nginx != "" {
		other, err := startNginx(nginx, dir, ports[3], upstream)
		if err != nil {
			return err
		}
		defer other.stop()
		rows = append(rows, measurement{name: "nginx proxy_cache, 256 KiB", process: other, address: ports[3], path: "/262144"})
	}
	fmt.Printf("%-28s %12s %12s %12s\n", "", "requests/s", "us CPU/req", "bytes")
	for _, row := range rows {
		if err := report(row, duration, rounds, connections); err != nil {
			return fmt.Errorf("%s: %w", row.name, err)
		}
	}
	return nil
}

// report measures one row.
func report(row measurement, duration time.Duration, rounds, connections int) error {
	if _, err := load(row, 500*time.Millisecond, connections); err != nil { // fills, and warms up
		return err
	}
	var rates, costs []float64
	var size int
	for range rounds {
		before := cpu(row.process)
		begun := time.Now()
		result, err := load(row, duration, connections)
		if err != nil {
			return err
		}
		took := time.Since(begun)
		rates = append(rates, float64(result.requests)/took.Seconds())
		costs = append(costs, float64(cpu(row.process)-before)/float64(time.Microsecond)/float64(result.requests))
		size = result.size
	}
	fmt.Printf("%-28s %12.0f %12.1f %12d\n", row.name, slices.Max(rates), slices.Min(costs), size)
	return nil
}

// config has one port with Caddy's respond, and one with a cache before the upstream.
func config(ports []string, upstream string) string {
	return fmt.Sprintf(`{
	admin off
	auto_https off
	persist_config off
}
http://%s {
	respond "%s"
}
http://%s {
	response_cache 256MiB
	encode gzip
	reverse_proxy %s
}
`, ports[0], strings.Repeat("x", 1024), ports[1], upstream)
}

// startUpstream serves as many bytes of text as the path says.
func startUpstream() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		var n int
		if _, err := fmt.Sscanf(r.URL.Path, "/%d", &n); err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		if n > 64<<10 {
			w.Header().Set("Content-Type", "application/octet-stream")
		}
		w.Header().Set("Cache-Control", "max-age=3600")
		line := []byte("a line of text, such as pages are made of, number %d\n")
		body := bytes.Repeat(line, n/len(line)+1)[:n]
		w.Header().Set("Content-Length", fmt.Sprint(n))
		_, _ = w.Write(body)
	}
	go func() { _ = http.Serve(listener, http.HandlerFunc(handler)) }()
	return listener.Addr().String(), nil
}

func startNginx(program, dir, address, upstream string) (*process, error) {
	text := fmt.Sprintf(`daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 100000000;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	proxy_cache_path %[1]s/cache keys_zone=a:10m;
	server {
		listen %[2]s;
		location / {
			proxy_cache a;
			proxy_pass http://%[3]s;
		}
	}
}
`, dir, address, upstream)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return start(program, "-c", file, "-p", dir)
}
