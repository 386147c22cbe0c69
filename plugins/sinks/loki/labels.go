// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package loki

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const (
	// maxLabels is Loki's default limit of labels a stream.
	maxLabels = 15
	// maxStreams bounds the combinations of the labels' values.
	maxStreams = 1000
	// maxMetadata bounds the fields that are sent as structured metadata.
	maxMetadata = 32
	// other is the value of a label whose field has none of those listed.
	other = "other"
)

// checkLabels bounds the streams that the labels can make.
func checkLabels(fixed map[string]string, fields []LabelField) error {
	valid := regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	names := map[string]bool{"job": true, "node": true}
	add := func(name string) error {
		if !valid.MatchString(name) || strings.HasPrefix(name, "__") {
			return fmt.Errorf("label: expected letters, digits and underscores, found %q", name)
		}
		names[name] = true
		return nil
	}
	for name := range fixed {
		if err := add(name); err != nil {
			return err
		}
	}
	streams := 1
	for _, l := range fields {
		if names[l.Label] {
			return fmt.Errorf("label_field: there are two labels %q", l.Label)
		}
		if err := add(l.Label); err != nil {
			return err
		}
		if _, err := field(l.Field); err != nil {
			return fmt.Errorf("label_field %s: %w", l.Label, err)
		}
		if len(l.Values) == 0 || slices.Contains(l.Values, "") {
			return fmt.Errorf("label_field %s: expected the values that the label may have", l.Label)
		}
		if streams *= len(l.Values) + 1; streams > maxStreams {
			return fmt.Errorf("label_field: the labels' values make more than %d streams", maxStreams)
		}
	}
	if len(names) > maxLabels {
		return fmt.Errorf("label: expected at most %d with job and node, found %d", maxLabels, len(names))
	}
	return nil
}

func checkMetadata(fields []string) error {
	if len(fields) > maxMetadata {
		return fmt.Errorf("metadata: expected at most %d fields, found %d", maxMetadata, len(fields))
	}
	seen := map[string]bool{}
	for _, f := range fields {
		if _, err := field(f); err != nil {
			return fmt.Errorf("metadata: %w", err)
		}
		if name := metadataName(f); seen[name] {
			return fmt.Errorf("metadata: there are two fields %q", name)
		} else {
			seen[name] = true
		}
	}
	return nil
}

// field accepts the path of a field.
func field(s string) (string, error) {
	if slices.Contains(strings.Split(s, ">"), "") {
		return "", errors.New("expected a field such as status or request>host, found an empty name")
	}
	return s, nil
}

// metadataName is the path in characters that queries can name.
func metadataName(path string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, path)
}
