// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// newListener makes a listener and fails the test if the settings are wrong.
func newListener(t *testing.T, options Options, settings Settings) *Listener {
	t.Helper()
	l, err := NewApp(options).Listener("a", settings)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// do asks the listener without a network.
func do(t *testing.T, h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func wantStatus(t *testing.T, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d; body %q", w.Code, status, w.Body)
	}
}

func decode[T any](t *testing.T, body io.Reader) T {
	t.Helper()
	var v T
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// serveReal serves on a loopback port, with a client that keeps no connections and gives up after ten seconds.
func serveReal(t *testing.T, l *Listener) (url string, client *http.Client) {
	t.Helper()
	s, err := Start(t.Context(), l, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return s.URL(), client
}

// send asks over the network. The body is read whole; err may come from there.
func send(t *testing.T, client *http.Client, method, url string) (*http.Response, []byte, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(response.Body)
	return response, body.Bytes(), err
}
