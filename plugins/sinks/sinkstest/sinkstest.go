// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package sinkstest is what the tests of sinks share: servers that answer nonsense, what an error means to the host, and the
// fuzzing of parsers.
package sinkstest

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/logship"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/logshiptest"
)

// What an error of Send means to the host, as Meaning says it; a delay is its duration.
const (
	// Taken is success.
	Taken = "taken"
	// Rejected has the host send the halves.
	Rejected = "rejected"
	// Again has the host try again when it thinks fit.
	Again = "again"
)

// Meaning says what the host makes of an error of Send.
func Meaning(err error) string {
	var rejection *logship.Rejection
	var delay *logship.Delay
	switch {
	case err == nil:
		return Taken
	case errors.As(err, &rejection) && len(rejection.Lines) > 0:
		return fmt.Sprint(Rejected, " ", rejection.Lines)
	case rejection != nil:
		return Rejected
	case errors.As(err, &delay):
		return delay.After.String()
	}
	return Again
}

// Serve starts a server that always answers so, and returns its URL.
func Serve(t testing.TB, answer http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return server.URL
}

// Answer answers with a status, a body, and header fields that are given as names and values in turn.
func Answer(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a server that reads is a polite one; the client sees what comes of it
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// Nonsense are answers after which no line may be forgotten, nor be taken for poison.
func Nonsense() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"a page": Answer(http.StatusOK, "<html>Welcome! Please log in.</html>"),
		"no HTTP": func(w http.ResponseWriter, _ *http.Request) {
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_, _ = io.WriteString(conn, "\x00\x01 nonsense\r\n\r\n")
				_ = conn.Close()
			}
		},
		"cut short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusOK)
			_, _ = io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		},
		"a redirect":    Answer(http.StatusFound, "", "Location", "http://127.0.0.1:1/"),
		"unauthorized":  Answer(http.StatusUnauthorized, "no"),
		"forbidden":     Answer(http.StatusForbidden, "no"),
		"not found":     Answer(http.StatusNotFound, "no"),
		"broken":        Answer(http.StatusInternalServerError, "oh"),
		"bad delay":     Answer(http.StatusServiceUnavailable, "", "Retry-After", "soon"),
		"unknown code":  Answer(799, "?"),
		"no such thing": Answer(http.StatusNotImplemented, ""),
	}
}

// Text reads a request's body, which may be compressed by gzip.
func Text(r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(r.Body)
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// Fuzz fuzzes a parser: what it accepts must have a JSON form that reads back.
func Fuzz(f *testing.F, fresh func() caddyfile.Unmarshaler, seeds ...string) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v := fresh()
		if err := v.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
			return
		}
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("%q was accepted and has no JSON: %v", text, err)
		}
		if err := json.Unmarshal(encoded, fresh()); err != nil {
			t.Fatalf("%q was accepted and its JSON %s is not: %v", text, encoded, err)
		}
	})
}

// Case is an answer of a server, and what the host makes of it, as Meaning says it.
type Case = struct {
	Answer http.HandlerFunc
	Want   string
}

// Answers has a sink send to a server that gives each answer, and those of Nonsense, which have the host try again. provision
// makes the sink for the server's URL. An error that quotes an answer must quote little of it.
func Answers(t *testing.T, cases map[string]Case, provision func(t *testing.T, url string) logship.Sink) {
	t.Helper()
	all := maps.Clone(cases)
	for name, answer := range Nonsense() {
		all[name] = Case{answer, Again}
	}
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			err := provision(t, Serve(t, c.Answer)).Send(t.Context(), logshiptest.Batch(1, "{}"))
			if got := Meaning(err); got != c.Want {
				t.Errorf("%v means %s, want %s", err, got, c.Want)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}
