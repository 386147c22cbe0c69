// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

// crowd is how many requests may have deep stacks: 2 MB of these.
const crowd = 256

// aside runs f on a stack of its own, and returns when it has returned. Reading a body and expanding placeholders take a deep
// stack, which a request that waits for another one would keep for as long as it waits: 8 KiB each, of ten thousand. Where
// few are present it is not worth the two changes of goroutine.
func aside(f func()) { beside(f)() }

// beside runs f on a goroutine of its own. The caller has to call wait, which returns when f has.
func beside(f func()) (wait func()) {
	panicked := make(chan any, 1)
	go func() {
		defer func() { panicked <- recover() }()
		f()
	}()
	return func() {
		if reason := <-panicked; reason != nil {
			panic(reason) // where the server expects it
		}
	}
}
