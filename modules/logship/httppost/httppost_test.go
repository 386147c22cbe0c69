// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package httppost

import (
	"strings"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"0": 0, "7": 7 * time.Second, "Tue, 03 Feb 2026 04:05:36 GMT": 30 * time.Second,
		"Tuesday, 03-Feb-26 04:06:06 GMT": time.Minute, "Tue Feb  3 04:05:07 2026": time.Second, "Mon, 02 Feb 2026 00:00:00 GMT": 0,
		"": -1, "soon": -1, "-1": -1, "1.5": -1, "99999999999": -1,
	} {
		got, ok := retryAfter(value, now)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q means %s, %v", value, got, ok)
		}
	}
}

// Some receivers take a key in the URL; errors go to the log, the status and the dead letters.
func TestErrorsDoNotQuoteTheURL(t *testing.T) {
	t.Setenv("TEST_KEY", "s3cret")
	c, err := NewClient(Config{URL: "http://127.0.0.1:1/in?key={env.TEST_KEY}"}, None, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Post(t.Context(), "text/plain", "id", line); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the error is %v", err)
	}
	t.Setenv("TEST_KEY", "s3cret\x7f")
	if _, err := NewClient(Config{URL: "http://127.0.0.1:1/in?key={env.TEST_KEY}"}, None, 1<<10); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the error is %v", err)
	}
}
