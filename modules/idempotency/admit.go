// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/http/httpguts"
)

// operation is a request with a key, read and named.
type operation struct {
	r     *http.Request
	next  caddyhttp.Handler
	body  []byte
	claim Claim
}

// denied is why a request is refused before anything is claimed.
type denied struct {
	outcome outcome
	problem problem
	detail  string
}

// admit reads the request: nothing is claimed for one that is malformed, or whose body is slow.
func (h *Handler) admit(r *http.Request, next caddyhttp.Handler, values []string) (*operation, *denied) {
	if len(values) == 0 {
		return nil, &denied{outcome: missing, problem: h.problems.missing}
	}
	key, err := parseKey(values, h.Strict, h.MaxKey)
	if err != nil {
		return nil, &denied{outcome: malformed, problem: h.problems.malformed, detail: err.Error() + "."}
	}
	who, err := h.identify(r)
	if err != nil {
		return nil, &denied{outcome: unidentified, problem: h.problems.unidentified}
	}
	body, err := readBody(r, h.MaxBody)
	switch {
	case errors.Is(err, errTooLarge):
		return nil, &denied{outcome: tooLarge, problem: h.problems.tooLarge}
	case isTooLarge(err):
		return nil, &denied{
			outcome: tooLarge, problem: h.problems.tooLarge, detail: "The body is larger than is allowed here. Nothing was carried out.",
		}
	case err != nil:
		return nil, &denied{outcome: incomplete, problem: h.problems.incomplete}
	}
	return &operation{r: r, next: next, body: body, claim: h.newClaim(r, who, key, body)}, nil
}

func (h *Handler) newClaim(r *http.Request, who identity, key string, body []byte) Claim {
	id := h.keys.name(h.realm(r), who, key)
	if h.DryRun {
		id = h.keys.name("dry_run "+h.realm(r), who, key) // what a dry run saw was not protected, and is no answer later
	}
	return Claim{
		ID:          id,
		Owner:       newOwner(),
		Fingerprint: h.fingerprintOf(r, body),
		About:       h.about(r),
		Pending:     h.Precise,
		Retry:       h.OnUnknown == unknownRetry,
		Lease:       milliseconds(h.Lease),
		Retention:   milliseconds(h.TTL),
	}
}

func (h *Handler) realm(r *http.Request) string {
	if h.Realm == "" {
		return ""
	}
	return replacerOf(r).ReplaceAll(h.Realm, "")
}

// maxAbout bounds what operators see of a request, in bytes.
const maxAbout = 512

// about says which operation this is. The query may hold secrets, and with encryption the path may, too.
func (h *Handler) about(r *http.Request) string {
	if h.Encrypt {
		return r.Method
	}
	text := r.Method + " " + r.Host + r.URL.EscapedPath()
	return text[:min(len(text), maxAbout)]
}

var errTooLarge = errors.New("the body is too large")

// isTooLarge recognizes the limit of a handler before this one, such as request_body.
func isTooLarge(err error) bool {
	var refused caddyhttp.HandlerError
	return errors.As(err, &refused) && refused.StatusCode == http.StatusRequestEntityTooLarge
}

// readBody reads the whole body. On an error, what was read is put back, so that a dry run lets the request pass as it came.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errTooLarge
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(min(r.ContentLength, 64<<10)) + bytes.MinRead) // what is only announced is not allocated
	}
	n, err := buf.ReadFrom(io.LimitReader(r.Body, limit+1))
	if err == nil && n <= limit {
		return buf.Bytes(), nil
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(&buf, r.Body), r.Body}
	if err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	return nil, errTooLarge
}

// restore gives the request its body back, for handlers behind that are to see it as it came.
func restore(r *http.Request, body []byte) *http.Request {
	if len(body) == 0 {
		r.Body = http.NoBody
		return r
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	return r
}

// outgoing is the request as it is sent: detached from the client, whole, and without what was between the client and
// this proxy. An Upgrade is left out, as RFC 9110 section 7.8 permits: a connection that switches protocols has no answer.
func (op *operation) outgoing() *http.Request {
	r := restore(op.r.Clone(op.r.Context()), op.body)
	r.TransferEncoding = nil
	r.Header.Del("Expect")
	r.Header.Del(subAuthField)
	if httpguts.HeaderValuesContainsToken(r.Header["Connection"], "Upgrade") {
		r.Header.Del("Upgrade")
		r.Header.Del("Connection")
	}
	return r
}
