// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"

	_ "github.com/gatehouse-proxy/gatehouse/modules/balance"
)

// breaker is an upstream that takes every POST, counts it by its key, and then breaks the connection as its fault says.
type breaker struct {
	address string
	tls     *tls.Config // nil for h1 and h2c
	h2      bool
	fault   string

	mu         sync.Mutex
	listener   net.Listener
	dispatches map[string]int
	conns      []net.Conn
}

func newBreaker(t *testing.T, protocol, fault string) *breaker {
	b := &breaker{h2: protocol != "h1", fault: fault, dispatches: map[string]int{}}
	if protocol == "h2" {
		borrowed := httptest.NewUnstartedServer(nil)
		borrowed.StartTLS()
		b.tls = &tls.Config{Certificates: borrowed.TLS.Certificates, NextProtos: []string{"h2"}}
		borrowed.Close()
	}
	reserved, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	b.address = reserved.Addr().String()
	_ = reserved.Close()
	return b
}

// listen begins to accept connections; until then the address refuses them. It is none that connections go out from, so that
// nothing takes the port meanwhile.
func (b *breaker) listen(t *testing.T) {
	listener, err := net.Listen("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.listener = listener
	b.mu.Unlock()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns = append(b.conns, conn)
			b.mu.Unlock()
			go b.serve(conn)
		}
	}()
}

func (b *breaker) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listener != nil {
		_ = b.listener.Close()
	}
	for _, conn := range b.conns {
		_ = conn.Close()
	}
}

// enough dispatches of one request make the point; plain Caddy goes on for ever after GOAWAY.
const enough = 20

// took counts a dispatch.
func (b *breaker) took(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dispatches[key]++
}

func (b *breaker) count(key string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dispatches[key]
}

func (b *breaker) serve(tcp net.Conn) {
	conn := tcp
	if b.tls != nil {
		conn = tls.Server(tcp, b.tls)
	}
	if b.h2 {
		b.serveH2(tcp, conn)
	} else {
		b.serveH1(tcp, conn)
	}
}

func (b *breaker) serveH1(tcp, conn net.Conn) {
	in := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodPost {
			b.took(strings.Trim(r.Header.Get("Idempotency-Key"), `"`))
			if b.fault != "refused" {
				cut(tcp, b.fault == "RST")
				return
			}
		}
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

// cut ends a connection, by a reset or in order.
func cut(tcp net.Conn, reset bool) {
	if reset {
		_ = tcp.(*net.TCPConn).SetLinger(0)
	}
	_ = tcp.Close()
}

// serveH2 speaks as much HTTP/2 as the test needs.
func (b *breaker) serveH2(tcp, conn net.Conn) {
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = framer.WriteSettings()
	posts := map[uint32]string{}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = framer.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			method, key := f.PseudoValue("method"), ""
			for _, field := range f.RegularFields() {
				if field.Name == "idempotency-key" {
					key = strings.Trim(field.Value, `"`)
				}
			}
			if method != http.MethodPost {
				answerH2(framer, f.StreamID)
				continue
			}
			posts[f.StreamID] = key
			b.took(key)
			if f.StreamEnded() && !b.breakH2(tcp, framer, f.StreamID, posts[f.StreamID]) {
				return
			}
		case *http2.DataFrame:
			if f.StreamEnded() && !b.breakH2(tcp, framer, f.StreamID, posts[f.StreamID]) {
				return
			}
		}
	}
}

// breakH2 carries the fault out, and reports whether the connection goes on.
func (b *breaker) breakH2(tcp net.Conn, framer *http2.Framer, stream uint32, key string) bool {
	if b.count(key) > enough {
		answerH2(framer, stream)
		return true
	}
	switch b.fault {
	case "GOAWAY": // with the stream not among those that are processed, which a peer may say at any time
		_ = framer.WriteGoAway(stream-1, http2.ErrCodeNo, nil)
		return true
	case "refused":
		answerH2(framer, stream)
		return true
	}
	cut(tcp, b.fault == "RST")
	return false
}

func answerH2(framer *http2.Framer, stream uint32) {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	_ = encoder.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true})
	_ = framer.WriteData(stream, true, []byte("ok"))
}

// cell is one case of the matrix.
type cell struct {
	body, protocol, fault, policy string
	retries                       int
	protected                     bool
}

func (c cell) String() string {
	return fmt.Sprintf("%s/%s/retries %d/%s/%s", c.body, c.protocol, c.retries, c.fault, c.policy)
}

func (c cell) caddyfile(upstreams []*breaker) string {
	var text strings.Builder
	text.WriteString(":8080 {\n")
	if c.protected {
		text.WriteString("\tidempotency_key\n")
	}
	text.WriteString("\treverse_proxy")
	for _, u := range upstreams {
		text.WriteString(" " + map[bool]string{true: "https://", false: "http://"}[c.protocol == "h2"] + u.address)
	}
	fmt.Fprintf(&text, " {\n\t\tlb_policy %s\n", c.policy)
	if c.retries > 0 {
		fmt.Fprintf(&text, "\t\tlb_retries %d\n\t\tlb_retry_match {\n\t\t\tmethod POST\n\t\t}\n", c.retries)
	}
	if c.body == "buffered" {
		text.WriteString("\t\trequest_buffers 4KiB\n")
	}
	switch c.protocol {
	case "h2":
		text.WriteString("\t\ttransport http {\n\t\t\tversions 2\n\t\t\ttls_insecure_skip_verify\n\t\t}\n")
	case "h2c":
		text.WriteString("\t\ttransport http {\n\t\t\tversions h2c\n\t\t}\n")
	}
	text.WriteString("\t}\n}\n")
	return text.String()
}

// run sends requests through the cell's proxy, and returns the most and the fewest dispatches of one.
func (c cell) run(t *testing.T, s *gatehousetest.Server) (most, fewest int) {
	first := newBreaker(t, c.protocol, c.fault)
	upstreams := []*breaker{first}
	if c.fault != "refused" {
		first.listen(t)
	}
	if c.retries > 0 { // without, the request must meet the connection that the one before has warmed up
		second := newBreaker(t, c.protocol, c.fault)
		second.listen(t)
		upstreams = append(upstreams, second)
	}
	if err := s.Reload(c.caddyfile(upstreams)); err != nil {
		t.Fatal(err)
	}
	for _, u := range upstreams {
		defer u.close()
	}
	body := map[string]string{"empty": "", "body": "soap", "buffered": "soap"}[c.body]
	fewest = 1 << 30
	for i := range 4 {
		if i%2 == 1 {
			body = map[string]string{"buffered": ""}[c.body] + body // a buffered empty body is a case of its own
		}
		key := fmt.Sprintf("%s-%d-%d", c, i, time.Now().UnixNano())
		key = strings.NewReplacer(" ", "_", "/", "-").Replace(key)
		for range upstreams {
			_, _ = s.Try("GET", s.URL(":8080")+"/warm", "") // so that a connection is there to be used again
		}
		sent := body
		if c.body == "buffered" && i%2 == 1 {
			sent = ""
		}
		_, _ = s.Try("POST", s.URL(":8080")+"/", sent, "Idempotency-Key: "+key)
		if c.fault == "refused" && c.retries == 0 && i == 0 {
			first.listen(t)
		}
		if c.fault == "refused" && i == 0 || c.protected { // the client's own retry
			_, _ = s.Try("POST", s.URL(":8080")+"/", sent, "Idempotency-Key: "+key)
		}
		total := 0
		for _, u := range upstreams {
			total += u.count(key)
		}
		most, fewest = max(most, total), min(fewest, total)
	}
	return most, fewest
}

func cells() (all []cell) {
	for _, body := range []string{"empty", "body", "buffered"} {
		for _, protocol := range []string{"h1", "h2", "h2c"} {
			for _, retries := range []int{0, 3} {
				for _, fault := range []string{"RST", "FIN", "GOAWAY", "refused"} {
					all = append(all, cell{body: body, protocol: protocol, retries: retries, fault: fault})
				}
			}
		}
	}
	return all
}

// A request is sent once whatever the transport and reverse_proxy would do, and plain Caddy is the control: where it sends
// once as well, the cell shows nothing.
func TestOneDispatch(t *testing.T) {
	s := gatehousetest.Start(t, ":8080 {\n}")
	// A connection that was dialed and not used would delay each reload by five seconds.
	s.Client.Transport.(*http.Transport).DisableKeepAlives = true
	dangerous := 0
	for _, c := range cells() {
		c.policy = "round_robin"
		s.Client.Timeout = time.Second // plain Caddy sends again and again after GOAWAY
		control, _ := c.run(t, s)
		s.Client.Timeout = 30 * time.Second
		if control > 1 {
			dangerous++
		}
		for _, policy := range []string{"round_robin", "least_response_time"} {
			c.policy, c.protected = policy, true
			most, fewest := c.run(t, s)
			t.Logf("%-50s dispatches %d, plain Caddy %d", c, most, control)
			if most != 1 || fewest != 1 {
				t.Errorf("%s: from %d to %d dispatches", c, fewest, most)
			}
		}
	}
	if dangerous < 30 {
		t.Errorf("plain Caddy sends twice in %d cells only: the matrix shows too little", dangerous)
	}
}

// While the store is away, a request that passes unprotected is sent once all the same.
func TestOneDispatchUnprotected(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	upstream := newBreaker(t, "h1", "RST")
	upstream.listen(t)
	defer upstream.close()
	proxy := "\treverse_proxy " + upstream.address + "\n}\n"
	s := gatehousetest.Start(t, "{\n\tredis "+server.URL()+"\n}\n:8080 {\n\tidempotency_key {\n\t\ton_store_error open\n\t}\n"+proxy+":8081 {\n"+proxy)
	server.Kill()
	send := func(port, key string) gatehousetest.Response {
		if warm := s.Do("GET", s.URL(port)+"/warm", ""); warm.StatusCode != 200 { // a POST without a body is repeated on used connections
			t.Fatal(warm.StatusCode)
		}
		return s.Do("POST", s.URL(port)+"/", "", "Idempotency-Key: "+key)
	}
	resp := send(":8080", "open")
	expect(t, resp, 502, "outcome-unknown")
	if n := upstream.count("open"); n != 1 || resp.Header.Get("Idempotency-Status") != "unprotected" {
		t.Errorf("%d dispatches, %v", n, resp.Header)
	}
	if send(":8081", "plain"); upstream.count("plain") < 2 {
		t.Error("plain Caddy sends once as well: this shows nothing")
	}
}
