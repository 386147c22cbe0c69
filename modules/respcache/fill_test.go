// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A fill that everybody has left goes on while its answer may be stored, and no longer.
func TestAbandonedFillEnds(t *testing.T) {
	for _, followers := range []int32{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			f := newFill("key", flight{}, 0)
			f.cancel, f.stored = cancel, true
			f.settle(streaming)
			f.abandon()
			f.followers.Store(followers) // who came after it was left
			time.Sleep(longestFill - time.Second)
			synctest.Wait()
			if ctx.Err() != nil {
				t.Error("it was cancelled while it could be stored")
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if cancelled := ctx.Err() != nil; cancelled != (followers == 0) {
				t.Errorf("%d followers: cancelled %v", followers, cancelled)
			}
		})
	}
}
