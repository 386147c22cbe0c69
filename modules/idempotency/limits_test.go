// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Steps that wait for a store are limited by their number and by the size of their answers; what does not fit is counted.
func TestUnsettledStepsAreLimited(t *testing.T) {
	for _, c := range []struct {
		terms           terms
		sizes           []int
		kept            int
		bytes, droppedN int64
	}{
		{terms{time.Second, 2, 1000}, []int{1, 1, 1}, 2, 2, 1},
		{terms{time.Second, 10, 10}, []int{6, 6, 4, 1}, 2, 10, 2},
		{terms{time.Second, 10, 10}, []int{10}, 1, 10, 0},
		{terms{time.Second, 10, 10}, []int{11}, 0, 0, 1},
	} {
		e := newEngine("test") // no store is attached, so that every step waits
		before := testutil.ToFloat64(metrics().dropped)
		for i, size := range c.sizes {
			e.unsettled.settle(Step{ID: fmt.Sprint(i), Act: Finish, Answer: make([]byte, size), Retention: time.Minute}, c.terms)
		}
		if kept, bytes := e.unsettled.pending(); kept != c.kept || bytes != c.bytes {
			t.Errorf("%+v of %v: %d kept with %d bytes, want %d and %d", c.terms, c.sizes, kept, bytes, c.kept, c.bytes)
		}
		if got := testutil.ToFloat64(metrics().dropped) - before; got != float64(c.droppedN) {
			t.Errorf("%+v of %v: %v dropped, want %d", c.terms, c.sizes, got, c.droppedN)
		}
		e.unsettled.stop(0)
		if kept, bytes := e.unsettled.pending(); kept != 0 || bytes != 0 {
			t.Errorf("%d and %d bytes are left at the end", kept, bytes)
		}
	}
}
