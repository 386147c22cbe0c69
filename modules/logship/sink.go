// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship

import (
	"context"
	"fmt"
	"time"
)

// Namespace is where sinks are registered.
const Namespace = "gatehouse.log_sinks"

// Sink takes batches of lines away. The host keeps them on disk until Send has returned nil.
//
// A sink is provisioned before the apps of its config exist: in Provision it must not call ctx.App or ctx.Storage, which
// panic there, and must not dial or wait, as it also runs for `gatehouse validate`. If it implements caddy.CleanerUpper,
// Cleanup may come while Send runs, and Send may be called once more after it, as Caddy cleans up in no order and the last
// lines are sent then: it succeeds or fails, as it can.
//
// Package logshiptest holds the tests that every implementation must pass.
type Sink interface {
	// Send delivers a batch. It returns nil when the sink has taken all of it, as durably as it can tell: the host
	// forgets the lines then. On an error any part of the batch may have been delivered, and the host sends it again
	// with the same ID, also after a crash of the process. It waits between tries: how long, a *Delay may say. Two errors
	// mean more:
	//
	//   - a *Rejection without Lines: the sink will never take this batch as it is. The host sends its halves, down to the
	//     line that is at fault, and puts that into the dead letters;
	//   - a *Rejection with Lines: the sink has taken all others, and will never take these.
	//
	// Send is called from one goroutine at a time, with at least one line. Its context has a deadline; it returns
	// promptly when the context ends. It must not keep the batch or anything in it.
	Send(ctx context.Context, batch *Batch) error
}

// Batch is what is sent at once: lines of one spool in their order. One that is sent again holds the same lines.
type Batch struct {
	// Node names the process that logged the lines, such as its host name: letters, digits, '.', '_' and '-'.
	Node string
	// Epoch tells the runs of the spool apart. It rises with each process that opens the spool, and is of the order of
	// the Unix time in milliseconds.
	Epoch uint64
	// Lines are in the order of their numbers, without duplicates. Numbers may be missing: those lines were dropped.
	Lines []Line
}

// Line is one line of the log.
type Line struct {
	// Seq is the line's number in its spool, from 1. It goes on in the next epoch, save where the disk lost lines.
	Seq uint64
	// Time is when the line was written, in UTC and nanoseconds.
	Time time.Time
	// Data is the line without its line end. It is commonly a JSON object, but may be any bytes, also none.
	Data []byte
}

// ID names the batch the same way each time it is sent, so that a sink or a receiver can know it again. It consists of
// letters, digits, '.', '_' and '-'.
func (b *Batch) ID() string {
	return fmt.Sprintf("%s-%d-%d-%d", b.Node, b.Epoch, b.Lines[0].Seq, b.Lines[len(b.Lines)-1].Seq)
}

// LineID names a line the same way each time it is sent, for sinks that tell duplicates by line.
func (b *Batch) LineID(i int) string {
	return fmt.Sprintf("%s-%d-%d", b.Node, b.Epoch, b.Lines[i].Seq)
}

// Bytes is the sum of the lines' lengths.
func (b *Batch) Bytes() int {
	n := 0
	for i := range b.Lines {
		n += len(b.Lines[i].Data)
	}
	return n
}

// Rejection says that lines will never be taken, however often they are sent: they are malformed, too long, or of a wrong
// type to the sink. Authentication that fails, a missing path or a full disk are no rejections: they pass, or somebody
// mends them, and the lines wait for that.
type Rejection struct {
	// Lines are indexes into Batch.Lines, ascending; the others were delivered. None means the whole batch, of which
	// nothing counts as delivered.
	Lines []int
	// Err says why.
	Err error
}

// Error implements error.
func (r *Rejection) Error() string {
	if len(r.Lines) == 0 {
		return fmt.Sprintf("the sink refuses the batch: %v", r.Err)
	}
	return fmt.Sprintf("the sink refuses %d of the lines: %v", len(r.Lines), r.Err)
}

// Unwrap returns the reason.
func (r *Rejection) Unwrap() error { return r.Err }

// Delay says when to try again, as HTTP's Retry-After does (RFC 9110, section 10.2.3). The host waits that long, but five
// minutes at most.
type Delay struct {
	// After is the time from now.
	After time.Duration
	// Err says why.
	Err error
}

// Error implements error.
func (d *Delay) Error() string {
	return fmt.Sprintf("%v (asked to come back after %s)", d.Err, d.After)
}

// Unwrap returns the reason.
func (d *Delay) Unwrap() error { return d.Err }
