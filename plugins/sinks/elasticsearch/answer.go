// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package elasticsearch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gatehouse-proxy/gatehouse/modules/logship"
)

const (
	// maxAnswer is read of an answer, in bytes: some 400 for each line of a batch, where 30 are usual.
	maxAnswer = 2 << 20
	// maxReason is how much of a reason appears in an error.
	maxReason = 300
)

// answer is what the bulk API says: an item for each action, in their order, under the action's name.
type answer struct {
	// Items are the results of the actions.
	Items []map[string]item `json:"items"`
}

type item struct {
	// Status is the HTTP status that the action would have had alone.
	Status int `json:"status"`
	// Error says why it failed.
	Error struct {
		// Type is the kind of error, which the servers do not change.
		Type string `json:"type"`
		// Reason is for people.
		Reason string `json:"reason"`
	} `json:"error"`
}

// fate is what became of a line.
type fate int

const (
	again  fate = iota // it may be taken later
	taken              // it is there
	poison             // it never will be
)

// judge turns an answer about n lines into what the host is to do. While a line is to be sent again, all are: those that are
// there already will be answered with a conflict.
func judge(text []byte, n int) error {
	if len(text) >= maxAnswer { // the halves have shorter ones
		return &logship.Rejection{Err: errors.New("the server's answer is too long to be read")}
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return fmt.Errorf("the server's answer is none of the bulk API: %w", err)
	}
	if len(a.Items) != n {
		return fmt.Errorf("the server answered about %d lines, of %d that were sent", len(a.Items), n)
	}
	var waiting int
	var dead []int
	var whyAgain, whyDead error
	for i, actions := range a.Items {
		switch it := actions["create"]; it.fate() {
		case again:
			if waiting++; waiting == 1 {
				whyAgain = it.err()
			}
		case poison:
			if dead = append(dead, i); len(dead) == 1 {
				whyDead = it.err()
			}
		}
	}
	switch {
	case waiting > 0:
		return fmt.Errorf("the server did not take %d of %d lines: %w", waiting, n, whyAgain)
	case len(dead) > 0:
		return &logship.Rejection{Lines: dead, Err: whyDead}
	}
	return nil
}

// fate reads an item. What is not known for certain is tried again.
func (it *item) fate() fate {
	switch {
	case (it.Status == http.StatusCreated || it.Status == http.StatusOK) && it.Error.Type == "":
		return taken
	case it.Status == http.StatusConflict && it.Error.Type == "version_conflict_engine_exception":
		return taken // by an earlier try: the document's ID is the line's
	case it.Status == http.StatusRequestEntityTooLarge || it.Status == http.StatusUnprocessableEntity:
		return poison
	case it.Status == http.StatusBadRequest && it.Error.Type != "" && !it.mendable():
		return poison
	}
	return again
}

// mendable reports whether a status 400 speaks of the cluster rather than of the document: somebody will mend that.
func (it *item) mendable() bool {
	switch it.Error.Type {
	case "index_closed_exception", "invalid_index_name_exception", "index_not_found_exception",
		"validation_exception": // the cluster may have no more shards
		return true
	case "illegal_argument_exception":
		for _, about := range []string{"no write index is defined", "pipeline with id", "pipeline [", "only write ops"} {
			if strings.HasPrefix(it.Error.Reason, about) {
				return true
			}
		}
	}
	return false
}

func (it *item) err() error {
	reason := strings.ToValidUTF8(it.Error.Reason[:min(len(it.Error.Reason), maxReason)], "")
	return fmt.Errorf("status %d: %.100q: %q", it.Status, it.Error.Type, reason)
}
