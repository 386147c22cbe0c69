// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gatehouse-proxy/gatehouse/modules/logship"
)

// flights are the lines that were handed to the client. An idempotent record that may have reached a broker cannot be taken
// back; so when a send ends early its records stay on their way, and the next send waits for them first. The client never
// holds more than one batch, and its order is that of the sends.
type flights struct {
	mu    sync.Mutex
	lines map[origin]*flight // of the batch that failed last, also while the host sends parts of it; and of the present one
	up    int                // how many are on their way
	clear chan struct{}      // closed when none is
}

// origin is the identity of a line.
type origin struct {
	node  string
	epoch uint64
	seq   uint64
}

// flight is a line's way to the brokers, err what they said at its end.
type flight struct{ err error }

func originOf(batch *logship.Batch, i int) origin {
	return origin{batch.Node, batch.Epoch, batch.Lines[i].Seq}
}

// send produces the lines that were not taken yet, and waits for the brokers.
func (f *flights) send(ctx context.Context, client *kgo.Client, batch *logship.Batch, why *trouble) error {
	if err := f.wait(ctx, why); err != nil {
		return err
	}
	f.produce(client, batch, f.admit(batch))
	if err := f.wait(ctx, why); err != nil {
		return err
	}
	why.over()
	return f.report(batch)
}

// wait returns when no line is on its way, or the context has ended.
func (f *flights) wait(ctx context.Context, why *trouble) error {
	f.mu.Lock()
	up, landed := f.up, f.clear
	f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("producing: %w", err)
	}
	if up == 0 {
		return nil
	}
	select {
	case <-landed:
		return nil
	case <-ctx.Done():
		return why.explain(fmt.Errorf("waiting for the brokers' acknowledgement: %w", ctx.Err()))
	}
}

// admit lists the indexes of the lines to produce. Of earlier batches it keeps what became of their lines only if this one is a
// part of them. None is on its way.
func (f *flights) admit(batch *logship.Batch) []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lines[originOf(batch, 0)] == nil {
		f.lines = make(map[origin]*flight, len(batch.Lines))
	}
	var fresh []int
	for i := range batch.Lines {
		o := originOf(batch, i)
		if line := f.lines[o]; line == nil || line.err != nil {
			f.lines[o] = new(flight)
			fresh = append(fresh, i)
		}
	}
	if f.up = len(fresh); f.up > 0 {
		f.clear = make(chan struct{})
	}
	return fresh
}

// produce hands lines to the client. The records' context is not that of the send, which may end before they do.
func (f *flights) produce(client *kgo.Client, batch *logship.Batch, fresh []int) {
	text := make([]byte, 0, batch.Bytes()+len(batch.Lines)*96) // records keep it; a line's origin takes some 70 bytes
	key := []byte(batch.Node)
	for _, i := range fresh {
		line := f.lines[originOf(batch, i)] // the map changes only between sends
		begin := len(text)
		text = batch.AppendJSON(text, i)
		client.TryProduce(context.Background(), &kgo.Record{
			Key: key, Value: text[begin:len(text):len(text)], Timestamp: batch.Lines[i].Time,
			Headers: []kgo.RecordHeader{{Key: "ship_id", Value: []byte(batch.LineID(i))}},
		}, func(_ *kgo.Record, err error) { f.land(line, err) })
	}
}

// land notes what became of a line.
func (f *flights) land(line *flight, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	line.err = err
	if f.up--; f.up == 0 {
		close(f.clear)
	}
}

// report says what became of the batch when no line is on its way. The brokers take or refuse several lines as one, so a refusal
// is one of the batch: the host sends parts of it, of which those lines that were taken are not produced again.
func (f *flights) report(batch *logship.Batch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var poison, failure error
	for i := range batch.Lines {
		err := f.lines[originOf(batch, i)].err
		switch {
		case err == nil:
		case poisonous(err):
			poison = cmp.Or(poison, err)
		default:
			failure = cmp.Or(failure, err)
		}
	}
	switch {
	case failure != nil:
		return fmt.Errorf("producing: %w", failure)
	case poison != nil:
		return &logship.Rejection{Err: poison}
	case len(batch.Lines) == len(f.lines):
		f.lines = nil // the host will not send any of them again
	}
	return nil
}

// poisonous reports whether a record, or one of those that are sent with it, will never be taken. Errors about the topic or the
// permission are mended by somebody.
func poisonous(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge) ||
		errors.Is(err, kerr.InvalidRecord) || errors.Is(err, kerr.InvalidTimestamp)
}
