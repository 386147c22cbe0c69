// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"errors"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// What is decided here is the whole of the safety argument; the handler only carries it out.

// verdict is what to do with a request after its claim.
type verdict int

const (
	// execute: this attempt holds the record.
	execute verdict = iota
	// replay: the operation is done, and its answer is known.
	replay
	// mismatch: the key was used for another request.
	mismatch
	// inFlight: another attempt holds the record.
	inFlight
	// doubtful: it is unknown whether the operation took effect.
	doubtful
	// unreadable: there is a record that this version cannot read.
	unreadable
)

// judge decides from the record as the claim left it. The fingerprint is compared in every state: neither an answer nor the
// state of an operation is told to who asks for something else.
func judge(rec Record, owner, fingerprint string) verdict {
	switch {
	case rec.State == Foreign:
		return unreadable
	case rec.Fingerprint != fingerprint:
		return mismatch
	case rec.HeldBy(owner):
		return execute
	case rec.State == Complete:
		return replay
	case rec.State == Unknown:
		return doubtful
	}
	return inFlight // also a Pending one whose lease has ended: the next claim gets it
}

// facts are what is known after the handlers behind have returned.
type facts struct {
	reach    reach
	vetoed   bool  // a second dispatch was prevented
	err      error // what they returned
	panicked bool  // they panicked instead, as reverse_proxy does when a response breaks off
	ended    bool  // the deadline passed
	status   int   // of the response that was written; 0 if none was
	complete bool  // it has the length that it announces
	retry    bool  // it has Retry-After
	policy   policy
}

// ending is what becomes of the record. Its act is Finish, Release or Doubt.
type ending struct {
	act    Act
	omit   bool   // for Finish: without the answer
	reason string // for Doubt, and for the metric
}

// Reasons of an ending, as operators see them.
const (
	reasonAnswered = "answered"
	reasonUnsent   = "not_sent"
	reasonStatus   = "released_by_status"
	reasonAsked    = "released_by_application"
	reasonRefused  = "refused_by_a_handler"
	reasonBroken   = "answer_broke_off"
	reasonTimeout  = "timeout"
	reasonError    = "connection_failed"
	reasonGateway  = "bad_gateway_answer"
	reasonNoAnswer = "no_answer"
)

// conclude decides what becomes of the record.
func conclude(f facts, releaseStatuses []int) ending {
	switch {
	case f.err != nil && !f.panicked:
		return concludeError(f)
	case f.panicked && f.reach == unsent:
		return ending{act: Release, reason: reasonUnsent}
	case f.vetoed:
		return ending{act: Doubt, reason: reasonError}
	case f.panicked, f.status != 0 && !f.complete:
		return f.doubt(reasonBroken)
	case f.status == 0, f.status == http.StatusSwitchingProtocols, f.status == statusClientGone:
		return f.doubt(reasonNoAnswer)
	case f.policy.release:
		return ending{act: Release, reason: reasonAsked}
	case slices.Contains(releaseStatuses, f.status), f.status == http.StatusServiceUnavailable && f.retry:
		return ending{act: Release, reason: reasonStatus}
	case f.status == http.StatusBadGateway, f.status == http.StatusGatewayTimeout:
		// A gateway behind this one does not know either.
		return ending{act: Doubt, reason: reasonGateway}
	}
	return ending{act: Finish, omit: f.policy.noStore, reason: reasonAnswered}
}

// statusClientGone is what reverse_proxy writes when the request was cancelled.
const statusClientGone = 499

// concludeError decides where the handlers returned an error instead of an answer.
func concludeError(f facts) ending {
	var refused caddyhttp.HandlerError
	switch {
	case f.status != 0: // and wrote a response before, or a part of one
		return ending{act: Doubt, reason: reasonBroken}
	case f.reach == unsent:
		return ending{act: Release, reason: reasonUnsent}
	case f.reach == unproven && errors.As(f.err, &refused) && isRefusal(refused.StatusCode):
		return ending{act: Release, reason: reasonRefused}
	}
	return f.doubt(reasonError)
}

// doubt blames the deadline for whatever went wrong after it.
func (f facts) doubt(reason string) ending {
	if f.ended {
		reason = reasonTimeout
	}
	return ending{act: Doubt, reason: reason}
}

// isRefusal reports whether an error's status is one that handlers refuse with (authentication, error) before anything
// is sent, and that no transport's failure is turned into: reverse_proxy makes those 413, 499, 502, 503 and 504.
func isRefusal(status int) bool {
	return status >= 400 && status < 499 && status != http.StatusRequestEntityTooLarge && status != http.StatusRequestTimeout
}
