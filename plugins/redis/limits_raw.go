// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

// raw is the dialect of the sliding window, the default: the script answers with the state, and the result is worked out here.
type raw struct{ spec reqlimit.Spec }

// epochBytes and totalBytes are how many bytes a window's state has before its counts: the newest bucket's number, and their
// sum.
const epochBytes, totalBytes = 6, 5

// stateBytes is how many bytes a window's state has.
func (r raw) stateBytes(rule *window.Rule) int {
	return epochBytes + totalBytes + rule.Bytes()*(r.spec.Buckets+1)
}

// unit implements dialect: the length of a bucket.
func (r raw) unit(w window.Window) float64 { return float64(r.width(w)) }

// size implements dialect.
func (r raw) size(d *decision) int { return len(d.rule.Windows) * r.stateBytes(d.rule) }

// read implements dialect: it works the result out from the state.
func (r raw) read(d *decision, result *window.Result) error {
	algorithm, size := window.Sliding{Buckets: r.spec.Buckets}, r.stateBytes(d.rule)
	words := make([]uint32, algorithm.Words(), 2+window.MaxBuckets+1)
	result.Allowed, result.Violated, result.Retry = true, -1, 0
	for i, w := range d.rule.Windows {
		unpackState(words, d.state[i*size:(i+1)*size], d.rule.Bytes())
		// The script's buckets are whole microseconds long.
		w.Period = time.Duration(r.width(w)*int64(r.spec.Buckets)) * time.Microsecond
		v := algorithm.Check(words, w, d.now*1000, max(d.low, d.granted))
		result.States[i] = window.State{Remaining: max(v.Room-max(d.granted, 0), 0), Reset: v.Reset}
		result.Receipt[i] = int64(words[0]) | int64(words[1])<<32
		if d.granted < 0 && !v.Fits {
			result.Refuse(i, v.Retry)
		}
	}
	if d.granted < 0 && result.Allowed {
		return fmt.Errorf("a refusal without a reason: %w", errReply)
	}
	return nil
}

// unpackState turns what a script packed into the words of window.Sliding.
func unpackState(words []uint32, state string, bytes int) {
	epoch := number(state[:epochBytes])
	words[0], words[1] = uint32(epoch), uint32(epoch>>32)
	counts := words[2:]
	slot := epoch % int64(len(counts))
	for at := epochBytes + totalBytes; at < len(state); at += bytes {
		counts[slot] = uint32(number(state[at : at+bytes]))
		if slot--; slot < 0 {
			slot = int64(len(counts)) - 1
		}
	}
}

// width is the length of a bucket in microseconds.
func (r raw) width(w window.Window) int64 {
	buckets := int64(r.spec.Buckets)
	return (w.Period.Microseconds() + buckets - 1) / buckets
}
