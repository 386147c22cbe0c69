// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"net/http"
	"slices"
	"strings"

	"github.com/dunglas/httpsfv"
)

const (
	// maxTags bounds the tags of one answer, and maxTagBytes each of them. An answer with more is not stored: it could not be
	// purged by all of them.
	maxTags     = 128
	maxTagBytes = 1024
)

const reasonTags = "too-many-tags"

// tagsOf collects the names by which an answer can be purged together with others: Cache-Tag (separated by commas),
// Surrogate-Key (by spaces) and Cache-Groups (RFC 9875 section 2: a structured list of strings). ok is false if they are too
// many or too long.
func tagsOf(h http.Header) (tags, groups []string, ok bool) {
	for _, line := range h["Cache-Tag"] {
		for tag := range strings.SplitSeq(line, ",") {
			tags = appendTag(tags, trimOWS(tag))
		}
	}
	for _, line := range h["Surrogate-Key"] {
		for _, tag := range strings.Fields(line) {
			tags = appendTag(tags, tag)
		}
	}
	groups = groupsOf(h["Cache-Groups"])
	for _, group := range groups {
		tags = appendTag(tags, group)
	}
	if len(tags) > maxTags {
		return nil, nil, false
	}
	tooLong := func(tag string) bool { return len(tag) > maxTagBytes }
	return tags, groups, !slices.ContainsFunc(tags, tooLong)
}

func appendTag(tags []string, tag string) []string {
	if tag == "" || slices.Contains(tags, tag) {
		return tags
	}
	return append(tags, tag)
}

// groupsOf reads a structured list of strings, RFC 9875 sections 2 and 3. A malformed field is ignored as a whole; members
// that are no strings are ignored alone.
func groupsOf(lines []string) (groups []string) {
	if len(lines) == 0 {
		return nil
	}
	list, err := httpsfv.UnmarshalList(lines)
	if err != nil {
		return nil
	}
	for _, member := range list {
		item, ok := member.(httpsfv.Item)
		if !ok {
			continue
		}
		if group, ok := item.Value.(string); ok {
			groups = appendTag(groups, group)
		}
	}
	return groups
}
