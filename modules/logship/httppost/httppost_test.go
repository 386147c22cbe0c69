// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package httppost

import (
	"strings"
	"testing"
)

// Some receivers take a key in the URL; errors go to the log, the status and the dead letters.
func TestErrorsDoNotQuoteTheURL(t *testing.T) {
	t.Setenv("TEST_KEY", "s3cret")
	c, err := NewClient(Config{URL: "http://127.0.0.1:1/in?key={env.TEST_KEY}"}, None)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Post(t.Context(), "text/plain", "id", nil); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the error is %v", err)
	}
	t.Setenv("TEST_KEY", "s3cret\x7f")
	if _, err := NewClient(Config{URL: "http://127.0.0.1:1/in?key={env.TEST_KEY}"}, None); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the error is %v", err)
	}
}
