// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gatehouse-proxy/gatehouse/modules/adminapi"
	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

// maxReason bounds a reason, in bytes: it is kept for each ban and written into each access-log line.
const maxReason = 256

// What a ban's source may be when an operator bans; policies use their names.
const (
	sourceManual = "manual"
	sourceImport = "import"
)

// plan turns a request into changes, or says what is wrong with it. operator is the address that asks, or the zero
// address; coveredBy is the allow-list. Nothing is changed unless all can be, save what is to be skipped.
func (req addRequest) plan(
	now time.Time, operator netip.Addr, coveredBy func(netip.Prefix) (netip.Prefix, bool),
) (changes []Change, skipped []string, err error) {
	if len(req.Prefixes) == 0 {
		return nil, nil, adminapi.Refuse(http.StatusBadRequest, "prefixes: expected at least one address or CIDR")
	}
	var duration time.Duration
	if req.For != "" {
		d, err := directive.PositiveDuration(req.For)
		if err != nil {
			return nil, nil, adminapi.Refuse(http.StatusBadRequest, "for: %w", err)
		}
		duration = max(time.Duration(d), time.Millisecond) // a ban is kept in milliseconds, and 0 would be for good
	}
	if err := checkReason(req.Reason); err != nil {
		return nil, nil, err
	}
	if req.Source == "" {
		req.Source = sourceManual
	}
	if !slices.Contains([]string{sourceManual, sourceImport}, req.Source) {
		return nil, nil, adminapi.Refuse(http.StatusBadRequest, "source: expected %s or %s, found %q", sourceManual, sourceImport, req.Source)
	}
	changes = make([]Change, 0, len(req.Prefixes))
	for _, text := range req.Prefixes {
		prefix, err := directive.Prefix(text)
		if err != nil {
			return nil, nil, adminapi.Refuse(http.StatusBadRequest, "prefixes: %w", err)
		}
		switch allowed, ok := coveredBy(prefix); {
		case ok && req.SkipAllowed:
			skipped = append(skipped, text)
			continue
		case ok:
			return nil, nil, adminapi.Refuse(http.StatusConflict, "%s is covered by %s of the allow-list: a ban would have no effect", text, allowed)
		case operator.IsValid() && !operator.IsLoopback() && prefix.Contains(operator):
			return nil, nil, adminapi.Refuse(http.StatusConflict,
				"%s covers your own address %s: put that into allow of ip_bans first, if the ban is wanted", text, operator)
		}
		changes = append(changes, Change{Ban: newBan(prefix, now, duration, req.Source, req.Reason)})
	}
	return changes, skipped, nil
}

func checkReason(reason string) error {
	if len(reason) > maxReason {
		return adminapi.Refuse(http.StatusBadRequest, "reason: expected at most %d bytes, found %d", maxReason, len(reason))
	}
	if !utf8.ValidString(reason) || strings.ContainsFunc(reason, unicode.IsControl) {
		return adminapi.Refuse(http.StatusBadRequest, "reason: expected text without control characters")
	}
	return nil
}

// planRemoval turns prefixes into lifts. Each must be banned as it is written: to lift a ban that covers more than was
// asked for would let others in too. One whose ban is over may still be remembered; lifting it makes it forgotten.
func planRemoval(prefixes []string, l *list) ([]Change, error) {
	if len(prefixes) == 0 {
		return nil, adminapi.Refuse(http.StatusBadRequest, "prefix: expected at least one address or CIDR, as in ?prefix=203.0.113.7")
	}
	changes := make([]Change, len(prefixes))
	for i, text := range prefixes {
		prefix, err := directive.Prefix(text)
		if err != nil {
			return nil, adminapi.Refuse(http.StatusBadRequest, "prefix: %w", err)
		}
		if _, ok := l.table.get(prefix); !ok && l.history.of(prefix, time.Now()) == (past{}) {
			return nil, notBanned(text, prefix, &l.table)
		}
		changes[i] = Change{Ban: Ban{Prefix: prefix}, Lift: true}
	}
	return changes, nil
}

func notBanned(text string, prefix netip.Prefix, t *table) error {
	if wider, ok := t.covering(prefix); ok {
		return adminapi.Refuse(http.StatusNotFound, "%s is not banned by itself; the ban of %s covers it: lift that one", text, wider)
	}
	return adminapi.Refuse(http.StatusNotFound, "%s is not banned", text)
}
