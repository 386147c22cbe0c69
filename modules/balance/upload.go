// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
)

// upload is a request's body on its way to the upstream. If the client sends less than it promised, or too slowly, or an
// earlier attempt has used the body up, the transport reports an error like any other; that must not count against the
// upstream, or clients could have upstreams ejected.
type upload struct {
	io.ReadCloser
	faulty *atomic.Bool // the attempt's
	closed atomic.Bool
}

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	// A transport whose connection broke closes the body, which may be being read: that is no fault of the client.
	if err != nil && err != io.EOF && !u.closed.Load() {
		u.faulty.Store(true)
	}
	return n, err
}

// Close implements io.Closer.
func (u *upload) Close() error {
	u.closed.Store(true)
	return u.ReadCloser.Close()
}

// sendable reports whether a request's header may be sent (RFC 9110, section 5). Where it may not, which a client can bring
// about if the config makes a field of what it sent, the transport fails whatever the upstream.
func sendable(header http.Header) bool {
	for name, values := range header {
		if !isToken(name) {
			return false
		}
		for _, value := range values {
			if strings.ContainsFunc(value, isControl) {
				return false
			}
		}
	}
	return true
}
