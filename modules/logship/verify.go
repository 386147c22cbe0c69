// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	// maxVerifyLine bounds a line that is verified, in bytes.
	maxVerifyLine = 64 << 20
	// maxVerifyRanges bounds the ranges of numbers that are kept: lines that came in order need one a gap.
	maxVerifyRanges = 1 << 20
)

// Stamp is the origin that a delivered line carries.
type Stamp struct {
	// Node is Batch.Node.
	Node string `json:"ship_node"`
	// Epoch is Batch.Epoch.
	Epoch uint64 `json:"ship_epoch"`
	// Seq is Line.Seq.
	Seq uint64 `json:"ship_seq"`
}

var errNoStamp = fmt.Errorf("the line has no %s, %s and %s", FieldNode, FieldEpoch, FieldSeq)

// ReadStamp reads the origin of a delivered line.
func ReadStamp(line []byte) (Stamp, error) {
	var s Stamp
	if err := json.Unmarshal(line, &s); err != nil {
		return s, fmt.Errorf("reading a delivered line: %w", err)
	}
	if s.Node == "" || s.Seq == 0 {
		return s, errNoStamp
	}
	return s, nil
}

// Verifier finds what is missing and what came twice in lines as sinks deliver them, in any order. The zero Verifier is
// ready for use, and is not safe for concurrent use.
type Verifier struct {
	nodes  map[string]map[uint64]*numbers // by node and epoch
	ranges int
	report Report
}

// Report is what a Verifier found.
type Report struct {
	// Lines that were read, duplicates included, without the unreadable ones.
	Lines uint64 `json:"lines"`
	// Missing numbers between the first and the last of each node.
	Missing uint64 `json:"missing"`
	// Duplicates are lines beyond the first with the same node, epoch and number.
	Duplicates uint64 `json:"duplicates"`
	// Unreadable lines are no JSON, or carry no origin.
	Unreadable uint64 `json:"unreadable"`
	// Disordered lines came after one of the same node and epoch with a higher number, and were no duplicates.
	Disordered uint64 `json:"disordered"`
	// Nodes are sorted by name.
	Nodes []NodeReport `json:"nodes"`
}

// NodeReport is the part of a Report about one node.
type NodeReport struct {
	// Node is its name.
	Node string `json:"node"`
	// Lines that were read, without duplicates.
	Lines uint64 `json:"lines"`
	// First and Last are the lowest and highest number.
	First uint64 `json:"first"`
	// Last is the highest number.
	Last uint64 `json:"last"`
	// Epochs is how many processes they come from.
	Epochs int `json:"epochs"`
	// Gaps are the missing numbers, ascending; of more than a thousand the first thousand.
	Gaps []Gap `json:"gaps,omitempty"`
}

// Gap is a range of missing numbers.
type Gap struct {
	// Epoch is that of the line after the gap.
	Epoch uint64 `json:"epoch"`
	// First and Last are missing, and all between them.
	First uint64 `json:"first"`
	// Last is the last missing number.
	Last uint64 `json:"last"`
}

// maxGaps bounds the gaps that a report lists.
const maxGaps = 1000

// errScattered ends a verification that would need too much memory.
var errScattered = errors.New("the lines are so scattered that more than a million ranges of numbers are open; verify them in parts")

// Read adds every line of a stream of NDJSON. Empty lines are ignored.
func (v *Verifier) Read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxVerifyLine)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		if err := v.Add(lines.Bytes()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// Add adds one line. What cannot be read is counted; the error is about the number of lines, not this one.
func (v *Verifier) Add(line []byte) error {
	stamp, err := ReadStamp(line)
	if err != nil {
		v.report.Unreadable++
		return nil
	}
	if v.nodes == nil {
		v.nodes = map[string]map[uint64]*numbers{}
	}
	epochs := v.nodes[stamp.Node]
	if epochs == nil {
		epochs = map[uint64]*numbers{}
		v.nodes[stamp.Node] = epochs
	}
	n := epochs[stamp.Epoch]
	if n == nil {
		n = &numbers{}
		epochs[stamp.Epoch] = n
	}
	v.report.Lines++
	before := len(n.ranges)
	late := len(n.ranges) > 0 && stamp.Seq < n.ranges[len(n.ranges)-1].last
	if !n.add(stamp.Seq) {
		v.report.Duplicates++
	} else if late {
		v.report.Disordered++
	}
	if v.ranges += len(n.ranges) - before; v.ranges > maxVerifyRanges {
		return errScattered
	}
	return nil
}

// Report tells what was found so far.
func (v *Verifier) Report() Report {
	r := v.report
	r.Nodes = []NodeReport{}
	for node, epochs := range v.nodes {
		nr, missing := nodeReport(node, epochs)
		r.Missing += missing
		r.Nodes = append(r.Nodes, nr)
	}
	slices.SortFunc(r.Nodes, func(a, b NodeReport) int { return cmp.Compare(a.Node, b.Node) })
	return r
}

// span is a range of numbers with the epoch that they were seen in.
type span struct {
	epoch uint64
	numberRange
}

// nodeReport lays the epochs' ranges side by side. Two epochs may have a number in common: the disk lost lines after they
// had been sent, and the next process used their numbers again.
func nodeReport(node string, epochs map[uint64]*numbers) (NodeReport, uint64) {
	nr := NodeReport{Node: node, Epochs: len(epochs)}
	var spans []span
	for epoch, n := range epochs {
		for _, r := range n.ranges {
			spans = append(spans, span{epoch, r})
			nr.Lines += r.last - r.first + 1
		}
	}
	slices.SortFunc(spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.first, b.first))
	})
	nr.First, nr.Last = spans[0].first, spans[0].last
	missing, reached := uint64(0), spans[0].last
	for _, s := range spans[1:] {
		if s.first > reached+1 {
			missing += s.first - reached - 1
			if len(nr.Gaps) < maxGaps {
				nr.Gaps = append(nr.Gaps, Gap{Epoch: s.epoch, First: reached + 1, Last: s.first - 1})
			}
		}
		// A number below what was reached begins again: a spool that was emptied, or lines that the disk lost.
		reached = s.last
		nr.First, nr.Last = min(nr.First, s.first), max(nr.Last, s.last)
	}
	return nr, missing
}

// numbers is a set of numbers, as ascending ranges that do not touch.
type numbers struct{ ranges []numberRange }

type numberRange struct{ first, last uint64 }

// add reports whether the number was new.
func (n *numbers) add(seq uint64) bool {
	if last := len(n.ranges) - 1; last >= 0 && seq == n.ranges[last].last+1 { // in order: the usual case
		n.ranges[last].last = seq
		return true
	}
	at, _ := slices.BinarySearchFunc(n.ranges, seq, func(r numberRange, seq uint64) int { return cmp.Compare(r.last, seq) })
	if at < len(n.ranges) && n.ranges[at].first <= seq {
		return false
	}
	after := at < len(n.ranges) && n.ranges[at].first == seq+1
	before := at > 0 && n.ranges[at-1].last+1 == seq
	switch {
	case before && after:
		n.ranges[at-1].last = n.ranges[at].last
		n.ranges = slices.Delete(n.ranges, at, at+1)
	case before:
		n.ranges[at-1].last = seq
	case after:
		n.ranges[at].first = seq
	default:
		n.ranges = slices.Insert(n.ranges, at, numberRange{seq, seq})
	}
	return true
}
