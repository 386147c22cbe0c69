// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/adminapi"
)

const (
	adminPath = "/gatehouse/idempotency"
	// maxResolution bounds the body of a request to resolve.
	maxResolution = 2 << 20
	// A page of the list has defaultPage records, and about maxPage at most.
	defaultPage = 100
	maxPage     = 10_000
	// adminTimeout bounds what the admin endpoint waits for a store.
	adminTimeout = 30 * time.Second
)

func init() { caddy.RegisterModule(Admin{}) }

// Admin serves the records of the running config's stores on the admin endpoint:
//
//	GET  /gatehouse/idempotency?state=unknown&limit=100&cursor=...   records in a state; without one, unknown; or any
//	GET  /gatehouse/idempotency/<operation>                          one record
//	POST /gatehouse/idempotency/<operation>/resolve                  settles an operation whose outcome is unknown
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.gatehouse_idempotency", New: func() caddy.Module { return new(Admin) }}
}

// Routes implements caddy.AdminRouter.
func (Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: adminPath, Handler: caddy.AdminHandlerFunc(serveAdmin)},
		{Pattern: adminPath + "/", Handler: caddy.AdminHandlerFunc(serveAdmin)},
	}
}

func serveAdmin(w http.ResponseWriter, r *http.Request) error {
	serve, method, id := adminRoute(r.URL.Path)
	if serve == nil {
		return adminapi.Refuse(http.StatusNotFound, "there is nothing at %s", r.URL.Path)
	}
	if err := adminapi.Allow(w, r, method); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), adminTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	found := ledgers()
	if len(found) == 0 {
		return adminapi.Refuse(http.StatusNotFound, "the running config has no idempotency records: add idempotency_key to a site")
	}
	answer, err := serve(r, found, id)
	if err != nil {
		return err
	}
	return adminapi.Answer(w, answer)
}

type adminFunc func(r *http.Request, stores []ledger, id string) (any, error)

func adminRoute(path string) (serve adminFunc, method, id string) {
	rest := strings.Trim(strings.TrimPrefix(path, adminPath), "/")
	id, action, deep := strings.Cut(rest, "/")
	switch {
	case rest == "":
		return serveList, http.MethodGet, ""
	case !deep:
		return serveShow, http.MethodGet, id
	case action == "resolve":
		return serveResolve, http.MethodPost, id
	}
	return nil, "", ""
}

// ledger is a store of the running config that can be looked into.
type ledger struct {
	Ledger
	key, name string
	source    *source
}

// ledgers are those of the running config, in the order of their keys.
func ledgers() []ledger {
	var found []ledger
	engines.Range(func(key, value any) bool {
		e, ok := value.(*engine)
		if !ok {
			return true
		}
		source := e.current()
		if source == nil {
			return true
		}
		if l, ok := source.store.(Ledger); ok {
			found = append(found, ledger{l, fmt.Sprint(key), e.name, source})
		}
		return true
	})
	slices.SortFunc(found, func(a, b ledger) int { return strings.Compare(a.key, b.key) })
	return found
}

// recordAnswer is a record as the admin endpoint shows it.
type recordAnswer struct {
	// Operation is the record's name.
	Operation string `json:"operation"`
	// State is pending, sent, complete, unknown or foreign.
	State string `json:"state"`
	// About is the request's method, host and path; with encryption, its method.
	About string `json:"about"`
	// Reason says why the state is unknown; left out in other states.
	Reason string `json:"reason,omitempty"`
	// Fence counts the attempts that held the record.
	Fence int64 `json:"fence"`
	// Created is when the operation was first tried.
	Created time.Time `json:"created"`
	// LeaseEnds is when the lease ends or ended.
	LeaseEnds time.Time `json:"lease_ends"`
	// Expires is when the record is forgotten: the operation could be carried out again from then on.
	Expires time.Time `json:"expires"`
	// Store is the name of the store's module.
	Store string `json:"store"`
	// Status is that of the kept answer; left out unless the state is complete and the answer can be read.
	Status int `json:"status,omitempty"`
	// Bytes is the length of the kept answer's body.
	Bytes int `json:"bytes,omitempty"`
	// Omitted says that the answer's body was not kept.
	Omitted bool `json:"omitted,omitempty"`
}

func newRecordAnswer(rec Record, l ledger) recordAnswer {
	shown := recordAnswer{
		Operation: rec.ID, State: rec.State.String(), About: rec.About, Reason: rec.Reason, Fence: rec.Fence,
		Created: rec.Created, LeaseEnds: rec.LeaseEnds, Expires: rec.Expires, Store: l.name,
	}
	if rec.State != Complete || len(rec.Answer) == 0 {
		return shown
	}
	plain, err := l.source.keys.open(rec.ID, rec.Answer)
	if err != nil {
		return shown
	}
	if kept, err := decodeAnswer(plain); err == nil {
		shown.Status, shown.Bytes, shown.Omitted = kept.status, len(kept.body), kept.omitted
	}
	return shown
}

// listAnswer is a page of the list.
type listAnswer struct {
	// Operations are records in no particular order.
	Operations []recordAnswer `json:"operations"`
	// Cursor is what to pass for the next page; left out on the last one.
	Cursor string `json:"cursor,omitempty"`
}

func serveList(r *http.Request, stores []ledger, _ string) (any, error) {
	query := r.URL.Query()
	state, err := listState(query.Get("state"))
	if err != nil {
		return nil, err
	}
	limit := defaultPage
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			return nil, adminapi.Refuse(http.StatusBadRequest, "limit: expected a whole number from 1 to %d, found %q", maxPage, text)
		}
	}
	at, cursor := 0, ""
	if text := query.Get("cursor"); text != "" {
		number, rest, _ := strings.Cut(text, ":")
		if at, err = strconv.Atoi(number); err != nil || at < 0 || at >= len(stores) {
			return nil, adminapi.Refuse(http.StatusBadRequest, "cursor: %q is not one of this list", text)
		}
		cursor = rest
	}
	return listPage(r.Context(), stores, state, at, cursor, limit)
}

func listPage(ctx context.Context, stores []ledger, state State, at int, cursor string, limit int) (any, error) {
	answer := listAnswer{Operations: []recordAnswer{}}
	for at < len(stores) && len(answer.Operations) < limit {
		records, next, err := stores[at].List(ctx, state, cursor, limit-len(answer.Operations))
		if err != nil {
			return nil, adminapi.Refuse(http.StatusServiceUnavailable, "%w", err)
		}
		for _, rec := range records {
			answer.Operations = append(answer.Operations, newRecordAnswer(rec, stores[at]))
		}
		if cursor = next; cursor == "" {
			at++
		}
	}
	if at < len(stores) {
		answer.Cursor = strconv.Itoa(at) + ":" + cursor
	}
	return answer, nil
}

func listState(name string) (State, error) {
	switch name {
	case "":
		return Unknown, nil
	case "any":
		return Absent, nil
	}
	for state := Pending; state <= Foreign; state++ {
		if state.String() == name {
			return state, nil
		}
	}
	return 0, adminapi.Refuse(http.StatusBadRequest,
		"state: expected one of any, pending, sent, complete, unknown, foreign, found %q", name)
}

func serveShow(r *http.Request, stores []ledger, id string) (any, error) {
	rec, l, err := find(r.Context(), stores, id)
	if err != nil {
		return nil, err
	}
	return newRecordAnswer(rec, l), nil
}

// find looks for a record in every store.
func find(ctx context.Context, stores []ledger, id string) (Record, ledger, error) {
	for _, l := range stores {
		rec, err := l.Get(ctx, id)
		switch {
		case err == nil:
			return rec, l, nil
		case !errors.Is(err, ErrNoRecord):
			return Record{}, ledger{}, adminapi.Refuse(http.StatusServiceUnavailable, "%w", err)
		}
	}
	return Record{}, ledger{}, adminapi.Refuse(http.StatusNotFound, "there is no operation %q", id)
}

// resolveRequest settles an operation whose outcome is unknown.
type resolveRequest struct {
	// Outcome is "release", if nothing happened: the key is free, and a retry is carried out; or "complete", if it took
	// effect: retries get the following answer.
	Outcome string `json:"outcome"`
	// Status is that of the answer, 200 to 599; for complete.
	Status int `json:"status,omitempty"`
	// ContentType is that of the answer. Default: none.
	ContentType string `json:"content_type,omitempty"`
	// Body is the answer's. Default: empty.
	Body string `json:"body,omitempty"`
}

func serveResolve(r *http.Request, stores []ledger, id string) (any, error) {
	var req resolveRequest
	if err := adminapi.Read(r, maxResolution, &req); err != nil {
		return nil, err
	}
	kept, err := req.answer()
	if err != nil {
		return nil, adminapi.Refuse(http.StatusBadRequest, "%w", err)
	}
	rec, l, err := find(r.Context(), stores, id)
	if err != nil {
		return nil, err
	}
	resolution := Resolution{ID: id, Fence: rec.Fence, Retention: l.source.retention}
	if kept != nil {
		resolution.Answer = l.source.keys.seal(id, kept.encode())
	}
	switch err := l.Resolve(r.Context(), resolution); {
	case errors.Is(err, ErrFenced):
		return nil, adminapi.Refuse(http.StatusConflict, "operation %q is %s: only an unknown outcome can be resolved", id, rec.State)
	case errors.Is(err, ErrNoRecord):
		return nil, adminapi.Refuse(http.StatusNotFound, "there is no operation %q", id)
	case err != nil:
		return nil, adminapi.Refuse(http.StatusServiceUnavailable, "%w", err)
	}
	l.source.logger.Info("an operator resolved an operation", zap.String("operation", id), zap.String("outcome", req.Outcome),
		zap.Int("status", req.Status), zap.String("about", rec.About), zap.String("operator", r.RemoteAddr))
	return req, nil
}

// answer is what retries will get; nil if the operation is released.
func (req resolveRequest) answer() (*answer, error) {
	switch {
	case req.Outcome == "release" && (req.Status != 0 || req.Body != "" || req.ContentType != ""):
		return nil, errors.New("outcome release takes no status, content_type or body")
	case req.Outcome == "release":
		return nil, nil
	case req.Outcome != "complete":
		return nil, fmt.Errorf("outcome: expected release or complete, found %q", req.Outcome)
	case req.Status < 200 || req.Status > 599:
		return nil, fmt.Errorf("status: expected a whole number from 200 to 599, found %d", req.Status)
	}
	kept := &answer{status: req.Status, header: http.Header{}, body: []byte(req.Body)}
	if req.ContentType != "" {
		kept.header.Set("Content-Type", req.ContentType)
	}
	return kept, nil
}

// Interface guards
var _ caddy.AdminRouter = (*Admin)(nil)
