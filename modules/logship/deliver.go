// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship

import (
	"errors"
	"math/rand/v2"
	"time"
)

// maxDelay is the longest that a sink may have its host wait.
const maxDelay = 5 * time.Minute

// errEnding says that the shipper ends, with the batch not delivered.
var errEnding = errors.New("shipping ends")

// outcome is what became of a batch.
type outcome struct {
	batch     *Batch
	delivered uint64
	refused   []refusedLine
	once      bool // a try that fails ends the delivery
}

// refusedLine is a line of a batch that the sink refuses for good.
type refusedLine struct {
	index  int
	reason string
}

// verdict is what to do after a try.
type verdict struct {
	done  bool          // all lines but the refused ones were taken
	split bool          // send the halves
	after time.Duration // else try again, after what the sink asked for; zero if it did not ask
	// refused are indexes into the batch's lines.
	refused []int
}

// judge decides what to do after a try of a batch of n lines. What an answer says is not trusted: indexes that the batch does
// not have, or that do not ascend, make it an error like any other.
func judge(err error, n int) verdict {
	var rejection *Rejection
	var delay *Delay
	switch {
	case err == nil:
		return verdict{done: true}
	case errors.As(err, &rejection) && len(rejection.Lines) > 0:
		last := -1
		for _, i := range rejection.Lines {
			if i <= last || i >= n {
				return verdict{}
			}
			last = i
		}
		return verdict{done: true, refused: rejection.Lines}
	case rejection != nil && n > 1:
		return verdict{split: true}
	case rejection != nil:
		return verdict{done: true, refused: []int{0}}
	case errors.As(err, &delay):
		return verdict{after: min(max(delay.After, 0), maxDelay)}
	}
	return verdict{}
}

// backoff is how long to wait after so many failures: a random time up to a bound that doubles, so that proxies which lost one
// sink do not all come back at once.
func backoff(failures int, low, high time.Duration) time.Duration {
	bound := high
	if shift := failures - 1; shift < 32 && low<<shift < high && low<<shift > 0 {
		bound = low << shift
	}
	return time.Millisecond + rand.N(max(bound, 1))
}

// deliver sends a batch until each of its lines was taken or refused, or the shipper ends.
func (sh *shipper) deliver(batch *Batch) (outcome, error) {
	got := outcome{batch: batch}
	err := sh.deliverPart(&got, 0, len(batch.Lines))
	return got, err
}

// deliverPart sends lines from first to end. A rejected part is sent in halves: a single bad line of n costs log2 n further
// failures and as many successes.
func (sh *shipper) deliverPart(got *outcome, first, end int) error {
	part := *got.batch
	part.Lines = got.batch.Lines[first:end]
	for failures := 1; ; failures++ {
		err := sh.send(&part)
		next := judge(err, len(part.Lines))
		switch {
		case next.done:
			sh.note(nil, 0) // it answers, whatever it answers
			got.delivered += uint64(len(part.Lines) - len(next.refused))
			for _, i := range next.refused {
				got.refused = append(got.refused, refusedLine{first + i, err.Error()})
			}
			return nil
		case next.split:
			middle := first + (end-first)/2
			if err := sh.deliverPart(got, first, middle); err != nil {
				return err
			}
			return sh.deliverPart(got, middle, end)
		case sh.hard.Err() != nil:
			return errEnding
		case got.once:
			return err
		}
		s := sh.settings()
		pause := max(next.after, backoff(failures, s.retryMin, s.retryMax))
		sh.note(err, pause)
		if !sh.pause(pause) {
			return errEnding
		}
	}
}

// pause waits before the next try, and reports whether there is to be one. A new target is tried at once.
func (sh *shipper) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-sh.aimed:
	case <-sh.work.Done():
		return false
	}
	return true
}
