// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// upload is a request's body on its way to the upstream. If the client sends less than it promised, or too slowly, the
// transport reports an error like any other; that must not count against the upstream, or clients could have upstreams
// ejected.
type upload struct {
	io.ReadCloser
	broke *atomic.Bool
}

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	// A transport whose connection broke closes the body, which may be being read: that is no fault of the client.
	if err != nil && err != io.EOF && !errors.Is(err, http.ErrBodyReadAfterClose) {
		u.broke.Store(true)
	}
	return n, err
}
