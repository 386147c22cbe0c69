// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// routes is the table of endpoints. What steers or observes the application never meets its faults.
func (l *Listener) routes() *http.ServeMux {
	mux := http.NewServeMux()
	work := func(pattern string, h http.HandlerFunc) { mux.HandleFunc(pattern, l.faulty(h, false)) }
	stream := func(pattern string, h http.HandlerFunc) { mux.HandleFunc(pattern, l.faulty(h, true)) }
	control := mux.HandleFunc

	work("/{$}", l.serveEcho)
	work("/echo/{rest...}", l.serveEcho)
	work("/status/{code}", serveStatus)
	work("/delay/{duration}", serveDelay)
	work("GET /bytes/{size}", serveBytes)
	work("GET /cache", l.app.cache.serveKinds)
	work("GET /cache/{kind}", l.app.cache.serve)
	work("POST /cache/{kind}", l.app.cache.serveChange)

	work("POST /orders", l.app.orders.serveEffect)
	work("PATCH /orders", l.app.orders.serveEffect)
	control("GET /orders", l.app.orders.serveReport)
	control("DELETE /orders", l.app.orders.serveReset)
	work("POST /ingest", l.app.ingest.serveBatch)
	control("GET /ingest", l.app.ingest.serveReport)
	control("DELETE /ingest", l.app.ingest.serveReset)

	stream("GET /sse", l.serveEvents)
	stream("GET /ws", l.serveWebSocket)

	control("GET /healthz", l.serveHealth)
	control("GET /_origin/settings", l.serveSettings)
	control("PUT /_origin/settings", l.serveSettings)
	control("PATCH /_origin/settings", l.serveSettings)
	control("GET /_origin/stats", l.serveStats)
	return mux
}

// ServeHTTP implements http.Handler.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Origin", l.name)
	r.Body = http.MaxBytesReader(w, r.Body, l.app.options.MaxBody)
	l.mux.ServeHTTP(w, r)
}

// echo is what GET / answers: the request as it arrived here, behind whatever proxies it passed.
type echo struct {
	// Name of the listener.
	Name string `json:"name"`
	// Method as sent.
	Method string `json:"method"`
	// Path and query as sent.
	URI string `json:"uri"`
	// The Host header.
	Host string `json:"host"`
	// Such as HTTP/1.1.
	Protocol string `json:"protocol"`
	// Address and port of the last hop.
	Remote string `json:"remote"`
	// Length of the request body.
	BodyBytes int64 `json:"body_bytes"`
	// All headers but Host.
	Headers http.Header `json:"headers"`
}

func (l *Listener) serveEcho(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		badBody(w, err)
		return
	}
	writeJSON(w, http.StatusOK, echo{
		Name: l.name, Method: r.Method, URI: r.RequestURI, Host: r.Host, Protocol: r.Proto,
		Remote: r.RemoteAddr, BodyBytes: n, Headers: r.Header,
	})
}

func serveStatus(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.PathValue("code"))
	if err != nil || code < 200 || code > 599 {
		http.Error(w, "the status must be a number from 200 to 599", http.StatusBadRequest)
		return
	}
	if code == http.StatusNoContent || code == http.StatusResetContent || code == http.StatusNotModified {
		w.WriteHeader(code) // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5: no content
		return
	}
	writeText(w, code, strconv.Itoa(code)+" "+http.StatusText(code)+"\n")
}

func serveDelay(w http.ResponseWriter, r *http.Request) {
	d, err := parseWait(r.PathValue("duration"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	began := time.Now()
	if err := sleep(r.Context(), d); err != nil {
		panic(http.ErrAbortHandler) // the client is gone
	}
	writeText(w, http.StatusOK, "waited "+time.Since(began).Round(time.Millisecond).String()+"\n")
}

func (l *Listener) serveHealth(w http.ResponseWriter, _ *http.Request) {
	if l.state.Load().settings.Unhealthy {
		writeText(w, http.StatusServiceUnavailable, "unhealthy\n")
		return
	}
	writeText(w, http.StatusOK, "ok\n")
}

// writeJSON sends v with a Content-Length, so that a cut body can be told from a whole one.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic("BUG: encoding a response of our own: " + err.Error())
	}
	write(w, status, "application/json", append(body, '\n'))
}

func writeText(w http.ResponseWriter, status int, text string) {
	write(w, status, "text/plain; charset=utf-8", []byte(text))
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that left is no concern of an origin
}

// contentLength reads the header of a response, with a fallback for one that has none.
func contentLength(h http.Header, fallback int64) int64 {
	n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if err != nil {
		return fallback
	}
	return n
}

// badBody answers a request whose body could not be read whole.
func badBody(w http.ResponseWriter, err error) {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	http.Error(w, "reading the request body: "+err.Error(), http.StatusBadRequest)
}
