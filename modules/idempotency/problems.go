// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/gatehouse-proxy/gatehouse/modules/refusal"
)

// problem is a kind of refusal. Its type is the description's URL with the word as fragment.
type problem struct {
	status int
	word   string
	title  string
	detail string
	// later tells the client to come again in a second.
	later bool
}

// problems are the refusals of one handler.
type problems struct {
	missing, malformed, unidentified, tooLarge, incomplete problem
	mismatch, inFlight, unknown, broken, unavailable, away problem
}

func (h *Handler) newProblems() problems {
	return problems{
		missing: problem{
			status: h.MissingStatus, word: "key-missing", title: "An idempotency key is required",
			detail: "Send the header " + h.Header + " with a value that is new for each operation and the same for each of its retries.",
		},
		malformed: problem{status: h.MissingStatus, word: "key-malformed", title: "The idempotency key is malformed"},
		unidentified: problem{
			status: h.MissingStatus, word: "identity-required", title: "Idempotency keys need an identity",
			detail: "Authenticate, so that your keys are told apart from those of other clients.",
		},
		tooLarge: problem{
			status: http.StatusRequestEntityTooLarge, word: "body-too-large", title: "The body is too large",
			detail: fmt.Sprintf("Requests with an idempotency key may have a body of at most %d bytes. Nothing was carried out.", h.MaxBody),
		},
		incomplete: problem{
			status: http.StatusBadRequest, word: "body-incomplete", title: "The body broke off",
			detail: "The request ended before its body did. Nothing was carried out.",
		},
		mismatch: problem{
			status: h.MismatchStatus, word: "key-reused", title: "The idempotency key was used for another request",
			detail: "Use a new key for a new operation, and send a retry unchanged.",
		},
		inFlight: problem{
			status: h.ConflictStatus, word: "in-flight", title: "The operation is under way", later: true,
			detail: "An earlier request with this key is not answered yet. Retry with the same key to get its answer.",
		},
		unknown: problem{
			status: h.ConflictStatus, word: "outcome-unknown", title: "The outcome of the operation is unknown",
			detail: "An earlier request with this key may or may not have taken effect. It is not sent again. " +
				"Find out before you try with a new key.",
		},
		broken: problem{
			status: http.StatusBadGateway, word: "outcome-unknown", title: "The outcome of the operation is unknown",
			detail: "The request was sent and its answer did not arrive: it may or may not have taken effect. " +
				"Retry with the same key: it is never carried out twice.",
		},
		unavailable: problem{
			status: h.ConflictStatus, word: "result-unavailable", title: "The operation is done, its answer was not kept",
			detail: "The request was carried out. Its answer cannot be repeated, because it was too large, a stream, or not to be kept.",
		},
		away: problem{
			status: http.StatusServiceUnavailable, word: "store-unavailable", title: "Idempotency keys cannot be checked", later: true,
			detail: "Nothing was carried out. Retry with the same key.",
		},
	}
}

// refuse answers with a problem; detail replaces the problem's, if given, and extensions are further members.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, p problem, detail string, extensions map[string]any) error {
	if detail == "" {
		detail = p.detail
	}
	prepared, err := refusal.New(refusal.Problem{
		Status: p.status, Type: h.DescribedBy + "#" + p.word, Title: p.title, Detail: detail,
		Extensions: extensions, Err: errors.New(p.title),
	})
	if err != nil {
		return fmt.Errorf("idempotency_key: preparing a refusal: %w", err)
	}
	header := w.Header()
	header.Add("Link", "<"+h.DescribedBy+`>; rel="describedby"`)
	if p.later {
		header.Set("Retry-After", "1")
	}
	return prepared.Answer(w, r)
}
