// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dunglas/httpsfv"
)

// errKey is what every malformed key is to errors.Is; its text is for the client.
var errKey = errors.New("the idempotency key is malformed")

// parseKey reads the key out of the values of its header, which is not absent.
//
// The standard (draft-ietf-httpapi-idempotency-key-header-07, section 2.1) wants an Item of RFC 9651 whose value is a String:
// "8e03978e", with the quotes. Most clients send the bare word; without strict, one of visible characters is taken too.
// Both forms of one key are the same key. Parameters of the item are ignored, as RFC 9651 section 2 asks.
func parseKey(values []string, strict bool, maxLen int) (string, error) {
	if len(values) != 1 {
		// Lines of one field are a list by RFC 9110 section 5.3, and an Item is none.
		return "", fmt.Errorf("%w: the header is given %d times", errKey, len(values))
	}
	value := strings.Trim(values[0], " \t")
	key, err := parseString(value)
	switch {
	case err != nil && !strict && !strings.HasPrefix(value, `"`):
		key, err = parseBare(value)
	case err != nil:
		err = fmt.Errorf(`%w: expected a structured-field string, such as "8e03978e" with its quotes`, errKey)
	}
	switch {
	case err != nil:
		return "", err
	case key == "":
		return "", fmt.Errorf("%w: it is empty", errKey)
	case len(key) > maxLen:
		return "", fmt.Errorf("%w: it is longer than %d characters", errKey, maxLen)
	}
	return key, nil
}

func parseString(value string) (string, error) {
	item, err := httpsfv.UnmarshalItem([]string{value})
	if err != nil {
		return "", err
	}
	key, ok := item.Value.(string)
	if !ok {
		return "", errKey
	}
	return key, nil
}

// parseBare takes a word of visible ASCII characters. A comma would make it a list, and quotes or a backslash are a string
// that went wrong.
func parseBare(value string) (string, error) {
	bad := strings.IndexFunc(value, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || r == '"' || r == ',' || r == '\\'
	})
	if bad >= 0 {
		return "", fmt.Errorf("%w: expected visible ASCII characters without blank, comma, quote and backslash", errKey)
	}
	return value, nil
}
