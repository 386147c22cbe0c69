// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package gatehousetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// timeout bounds every request of a test.
const timeout = 30 * time.Second

// instance is held by the one test that runs a config: Caddy has one config a process.
var instance sync.Mutex

// Server is a config that runs in this process until the test ends.
type Server struct {
	// Client follows no redirects, keeps no cookies and gives up after 30 s.
	Client *http.Client

	t         testing.TB
	listeners map[string]string // address in the Caddyfile -> free loopback address
	admin     string
}

// Response is an answer whose body was read.
type Response struct {
	*http.Response
	Body string
}

// Start loads the Caddyfile, moving each of its listeners and the admin endpoint to a free loopback port, and stops it
// when the test ends. Automatic HTTPS is off and nothing is written outside the test's folders. A second Start waits
// until the first test is over.
func Start(t testing.TB, caddyfile string) *Server {
	t.Helper()
	instance.Lock()
	t.Cleanup(instance.Unlock)
	s := &Server{
		t:         t,
		listeners: map[string]string{},
		admin:     FreeAddress(t),
		Client: &http.Client{
			Timeout:       timeout,
			Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	t.Cleanup(func() {
		s.Client.CloseIdleConnections()
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping the config: %v", err)
		}
	})
	if err := s.Reload(caddyfile); err != nil {
		t.Fatalf("loading the Caddyfile: %v", err)
	}
	return s
}

// Reload replaces the running config. Listeners that both configs name keep their ports. If it fails, the old config
// runs on, as it would for an operator.
func (s *Server) Reload(caddyfile string) error {
	config, err := Adapt(caddyfile)
	if err != nil {
		return err
	}
	return s.ReloadJSON(config)
}

// ReloadJSON is Reload for a config in JSON.
func (s *Server) ReloadJSON(config []byte) error {
	var cfg map[string]any
	if err := json.Unmarshal(config, &cfg); err != nil {
		return err
	}
	cfg["admin"] = map[string]any{"listen": s.admin, "config": map[string]any{"persist": false}}
	if _, ok := cfg["storage"]; !ok {
		cfg["storage"] = map[string]any{"module": "file_system", "root": s.t.TempDir()}
	}
	servers, _ := dig(cfg, "apps", "http", "servers").(map[string]any)
	for _, server := range servers {
		s.move(server.(map[string]any))
	}
	config, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	if err := caddy.Load(config, true); err != nil {
		return err
	}
	s.awaitHandover()
	return nil
}

// awaitHandover waits until the old config's sockets are closed. Caddy's load returns before that, and shares each port
// between the two until then, so a connection made right away may still reach the old server and be cut by its end.
func (s *Server) awaitHandover() {
	deadline := time.Now().Add(5 * time.Second)
	for _, address := range append(slices.Collect(maps.Values(s.listeners)), s.admin) {
		for listening(address) > 1 && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
	}
}

// move gives a server's listeners free loopback ports and switches automatic HTTPS off.
func (s *Server) move(server map[string]any) {
	server["automatic_https"] = map[string]any{"disable": true}
	listen, _ := server["listen"].([]any)
	for i, address := range listen {
		name := address.(string)
		if s.listeners[name] == "" {
			s.listeners[name] = FreeAddress(s.t)
		}
		listen[i] = s.listeners[name]
	}
}

func dig(m map[string]any, path ...string) any {
	for _, key := range path[:len(path)-1] {
		m, _ = m[key].(map[string]any)
	}
	return m[path[len(path)-1]]
}

// URL is the base URL of the listener that the Caddyfile calls address (":8080"), without a slash at its end.
func (s *Server) URL(address string) string {
	s.t.Helper()
	real, ok := s.listeners[address]
	if !ok {
		s.t.Fatalf("the Caddyfile has no listener %q; it has %v", address, s.listeners)
	}
	return "http://" + real
}

// Get requests a path from the listener ":8080", with headers given as "Name: value".
func (s *Server) Get(path string, headers ...string) Response {
	s.t.Helper()
	return s.Do(http.MethodGet, s.URL(":8080")+path, "", headers...)
}

// Admin sends a request to the config's admin endpoint.
func (s *Server) Admin(method, path, body string) Response {
	s.t.Helper()
	return s.Do(method, "http://"+s.admin+path, body, "Content-Type: application/json")
}

// AdminAddress is the host and port of the admin endpoint, for commands' --address.
func (s *Server) AdminAddress() string { return s.admin }

// Do sends one request and reads the answer; a transport error fails the test.
func (s *Server) Do(method, url, body string, headers ...string) Response {
	s.t.Helper()
	resp, err := s.Try(method, url, body, headers...)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp
}

// Try is Do for requests that may fail, and may be called from any goroutine.
func (s *Server) Try(method, url, body string, headers ...string) (Response, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return Response{}, err
	}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return Response{}, fmt.Errorf("header %q has no colon", h)
		}
		if value = strings.TrimSpace(value); strings.EqualFold(name, "Host") {
			req.Host = value
		} else {
			req.Header.Add(name, value)
		}
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := io.Copy(&text, resp.Body); err != nil {
		return Response{}, fmt.Errorf("reading the body of %s %s: %w", method, url, err)
	}
	return Response{resp, text.String()}, nil
}
