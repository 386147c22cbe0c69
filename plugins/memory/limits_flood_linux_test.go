// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"testing"
)

// TestFloodFreesNobody holds that ten million made-up keys take no memory beyond the table, and that everybody who was
// limited before stays limited.
func TestFloodFreesNobody(t *testing.T) {
	const abusers, limit = 1000, 10
	keys := 10_000_000
	if testing.Short() {
		keys = 1_000_000
	}
	tab, rule := slidingTable(t, limit, defaultLimitMemory)
	r := rand.New(rand.NewPCG(1, 2))
	var key [8]byte
	flood := func(n int) {
		for range n {
			binary.LittleEndian.PutUint64(key[:], r.Uint64()|1<<63)
			take(t, tab, rule, key[:])
		}
	}
	flood(keys / 5) // every page of the table is in use
	for i := range abusers {
		for range limit + 5 {
			take(t, tab, rule, fmt.Append(nil, "abuser ", i))
		}
	}
	before := residentBytes(t)
	flood(keys)
	after := residentBytes(t)
	limited := 0
	for i := range abusers {
		if !take(t, tab, rule, fmt.Append(nil, "abuser ", i)) {
			limited++
		}
	}
	usage := tab.Usage()
	t.Logf("%d keys into %d places: RSS grew by %.2f MB, %d of %d abusers still limited, %d evicted (%d at their limit)",
		keys, usage.Keys, float64(after-before)/1e6, limited, abusers, usage.Evicted, usage.EvictedLimited)
	if after-before > 2<<20 {
		t.Errorf("RSS grew by %d bytes, want at most 2 MiB", after-before)
	}
	if limited != abusers {
		t.Errorf("%d of %d abusers are still limited", limited, abusers)
	}
	if usage.Evicted == 0 {
		t.Error("nothing was evicted: the flood did not fill the table")
	}
}

// residentBytes is the process's resident memory once what is unused is given back: that of other tests, too, which the runtime
// would give back in its own time.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}
