// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/logship/spool"
)

// States of a spool.
const (
	stateOpen    = "open"
	stateOpening = "opening" // nothing was logged yet
	stateHeld    = "held"    // cannot be opened; lines wait in memory
	stateFailing = "failing" // cannot store lines
)

// States of a sink.
const (
	sinkUnknown = "unknown" // nothing was sent yet
	sinkUp      = "up"
	sinkDown    = "down"
)

// Status is the state of one spool.
type Status struct {
	// Path is the spool's directory.
	Path string `json:"path"`
	// Node is the name of this process in the lines.
	Node string `json:"node"`
	// State is "opening" for a moment, "open", "held" while the spool cannot be opened and lines wait in memory, or "failing" while lines cannot be
	// stored.
	State string `json:"state"`
	// Health says how things are, for people.
	Health string `json:"health"`
	// Error is why the state is not "open".
	Error string `json:"error,omitempty"`
	// Epoch is that of this process.
	Epoch uint64 `json:"epoch"`
	// Mapped tells whether lines are copied into memory that belongs to the kernel; else each costs a system call.
	Mapped bool `json:"mapped"`
	// SizeBytes is what the spool's files take, MaxSizeBytes what they may take, save one segment.
	SizeBytes int64 `json:"size_bytes"`
	// MaxSizeBytes is the configured bound.
	MaxSizeBytes int64 `json:"max_size_bytes"`
	// Segments is the number of files.
	Segments int `json:"segments"`
	// HeldLines wait in memory, HeldDropped had no room there.
	HeldLines int `json:"held_lines"`
	// HeldDropped lines had no room in memory.
	HeldDropped uint64 `json:"held_dropped"`
	// DamagedBytes were skipped when the spool was opened.
	DamagedBytes int64 `json:"damaged_bytes"`
	// Unreadable are segments that were left aside then.
	Unreadable []string `json:"unreadable,omitempty"`
	// Sinks are sorted by name.
	Sinks []SinkStatus `json:"sinks"`
}

// SinkStatus is the state of one sink of a spool. Accepted is the sum of Delivered, Dropped, DeadLettered and Pending. The
// four count since the spool was made, over restarts.
type SinkStatus struct {
	// Name is the sink's name.
	Name string `json:"name"`
	// State is "unknown" before the first batch, "up", or "down" while batches fail.
	State string `json:"state"`
	// Since is when the state began.
	Since time.Time `json:"since,omitzero"`
	// Accepted lines are all that were logged.
	Accepted uint64 `json:"accepted"`
	// Delivered lines were taken by the sink.
	Delivered uint64 `json:"delivered"`
	// Dropped lines are lost.
	Dropped uint64 `json:"dropped"`
	// DeadLettered lines were refused by the sink, and wait for a replay.
	DeadLettered uint64 `json:"dead_lettered"`
	// Pending lines wait on the disk.
	Pending uint64 `json:"pending"`
	// PendingBytes is what they take there.
	PendingBytes uint64 `json:"pending_bytes"`
	// OldestAge is how long the oldest of them has waited, in seconds.
	OldestAge float64 `json:"oldest_age_seconds"`
	// Acked is the number of the last line that is done with.
	Acked uint64 `json:"acked"`
	// Batches were taken since the shipper was started.
	Batches uint64 `json:"batches"`
	// Failures in a row.
	Failures uint64 `json:"failures"`
	// LastError is the latest error of the sink; it stays when the sink is up again.
	LastError string `json:"last_error,omitempty"`
	// RetryAt is when the next try is due.
	RetryAt time.Time `json:"retry_at,omitzero"`
	// Drops tell why lines were dropped since this process opened the spool.
	Drops DropCounts `json:"drops"`
}

// DropCounts count dropped lines by reason.
type DropCounts struct {
	// Full had no room in the spool.
	Full uint64 `json:"full"`
	// Evicted were given up to make room.
	Evicted uint64 `json:"evicted"`
	// Expired were older than max_age.
	Expired uint64 `json:"expired"`
	// Disk could not be stored.
	Disk uint64 `json:"disk"`
	// Damaged could not be read again.
	Damaged uint64 `json:"damaged"`
	// TooLong did not fit into a segment.
	TooLong uint64 `json:"too_long"`
	// DeadLetterFull were refused by the sink, and there was no room for them as dead letters.
	DeadLetterFull uint64 `json:"dead_letter_full"`
}

func (d *DropCounts) each(visit func(reason string, n uint64)) {
	visit("full", d.Full)
	visit("evicted", d.Evicted)
	visit("expired", d.Expired)
	visit("disk", d.Disk)
	visit("damaged", d.Damaged)
	visit("too_long", d.TooLong)
	visit("dead_letter_full", d.DeadLetterFull)
}

// running lists the cores in use, by path.
func running() []*core {
	var all []*core
	cores.Range(func(_, value any) bool {
		if c, ok := value.(*core); ok {
			all = append(all, c)
		}
		return true
	})
	slices.SortFunc(all, func(a, b *core) int { return cmp.Compare(a.dir, b.dir) })
	return all
}

// status tells the core's state; false if no config has attached to it.
func (c *core) status() (Status, bool) {
	c.mu.Lock()
	if len(c.attachments) == 0 {
		c.mu.Unlock()
		return Status{}, false
	}
	s := c.attachments[len(c.attachments)-1].settings
	st := Status{
		Path: c.dir, Node: s.node, State: stateOpen, MaxSizeBytes: s.spool.MaxSize,
		HeldLines: len(c.held), HeldDropped: c.heldDropped,
		DamagedBytes: c.found.Damaged, Unreadable: c.found.Unreadable, Sinks: []SinkStatus{},
	}
	err := c.openErr
	var shippers []*shipper
	for _, sh := range c.shippers {
		shippers = append(shippers, sh)
	}
	c.mu.Unlock()
	if sp := c.spool.Load(); sp == nil && err == nil {
		st.State = stateOpening
	} else if sp == nil {
		st.State = stateHeld
	} else {
		have := sp.Status()
		st.Epoch, st.Mapped, st.SizeBytes, st.Segments = sp.Epoch(), have.Mapped, have.Size, have.Segments
		if have.Broken != nil {
			st.State, err = stateFailing, have.Broken
		} else if have.Unsynced != nil {
			err = fmt.Errorf("lines are not safe against the loss of power: %w", have.Unsynced)
		}
	}
	if err != nil {
		st.Error = err.Error()
	}
	for _, sh := range shippers {
		st.Sinks = append(st.Sinks, sh.status())
	}
	slices.SortFunc(st.Sinks, func(a, b SinkStatus) int { return cmp.Compare(a.Name, b.Name) })
	st.Health = st.health()
	return st, true
}

func (sh *shipper) status() SinkStatus {
	p := sh.cursor.Progress()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	st := SinkStatus{
		Name: sh.name, State: sinkUnknown, Since: sh.state.since,
		Accepted: p.Accepted, Delivered: p.Delivered, Dropped: p.Dropped, DeadLettered: p.Dead,
		Pending: p.Pending, PendingBytes: p.PendingBytes, Acked: p.Acked,
		Batches: sh.state.batches, Failures: sh.state.failures, RetryAt: sh.state.retryAt,
		Drops: dropCounts(p.Drops, sh.state.lost),
	}
	if !p.Oldest.IsZero() {
		st.OldestAge = max(time.Since(p.Oldest).Seconds(), 0)
	}
	if sh.state.known {
		st.State = map[bool]string{true: sinkUp, false: sinkDown}[sh.state.up]
	}
	if sh.state.lastErr != nil {
		st.LastError = sh.state.lastErr.Error()
	}
	return st
}

func dropCounts(d spool.Drops, lost uint64) DropCounts {
	return DropCounts{
		Full: d.Full, Evicted: d.Evicted, Expired: d.Expired, Disk: d.Disk, Damaged: d.Damaged, TooLong: d.TooLong,
		DeadLetterFull: lost,
	}
}

// health says in a line how things are: the worst first.
func (st *Status) health() string {
	switch st.State {
	case stateHeld:
		return "the spool cannot be opened: " + st.Error
	case stateFailing:
		return "lines cannot be stored: " + st.Error
	}
	for _, sink := range st.Sinks {
		if sink.State == sinkDown {
			return fmt.Sprintf("%s is down since %s, %d lines wait: %s",
				sink.Name, sink.Since.UTC().Format(time.RFC3339), sink.Pending, sink.LastError)
		}
	}
	for _, sink := range st.Sinks {
		if sink.DeadLettered > 0 {
			return fmt.Sprintf("%s has refused %d lines, which wait for a replay", sink.Name, sink.DeadLettered)
		}
	}
	if st.Error != "" {
		return st.Error
	}
	return "ok"
}
