// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-proxy/gatehouse/modules/processors"
)

// errDeadFull says that a sink's dead letters have their size.
var errDeadFull = errors.New("there is no room for more dead letters")

// letter is a line that a sink refuses, as a file of dead letters holds it: one JSON object a line.
type letter struct {
	// Node, Epoch and Seq are the line's origin.
	Node string `json:"node"`
	// Epoch is Batch.Epoch.
	Epoch uint64 `json:"epoch"`
	// Seq is Line.Seq.
	Seq uint64 `json:"seq"`
	// Time is when the line was written.
	Time time.Time `json:"time"`
	// Reason is what the sink said.
	Reason string `json:"reason"`
	// Line is the line as it was logged.
	Line string `json:"line,omitempty"`
	// Base64 is the line instead, if it is not UTF-8.
	Base64 []byte `json:"base64,omitempty"`
}

// deadLetters is the directory of the lines that one sink refuses, with a file for each batch that had some.
type deadLetters struct {
	dir string
	max int64

	mu   sync.Mutex // guards what follows, and the directory
	size int64      // of the files; -1 before they were looked at
}

func newDeadLetters(dir, sink string, limit int64) *deadLetters {
	return &deadLetters{dir: filepath.Join(dir, sink), max: limit, size: -1}
}

// keep writes the refused lines of a batch to a file that is named by the batch: one that is refused again after a crash
// replaces it.
func (d *deadLetters) keep(got outcome) error {
	text, err := got.letters()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.files(); err != nil {
		return err
	}
	if d.size+int64(len(text)) > d.max {
		return errDeadFull
	}
	return d.write(got.batch.ID()+".ndjson", text)
}

// letters writes the refused lines as a file holds them.
func (got *outcome) letters() ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	for _, r := range got.refused {
		line := got.batch.Lines[r.index]
		l := letter{Node: got.batch.Node, Epoch: got.batch.Epoch, Seq: line.Seq, Time: line.Time, Reason: r.reason}
		if utf8.Valid(line.Data) {
			l.Line = string(line.Data)
		} else {
			l.Base64 = line.Data
		}
		if err := encoder.Encode(l); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}

func (d *deadLetters) write(name string, text []byte) error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(d.dir, name)
	temporary := path + ".tmp"
	if err := writeThrough(temporary, text); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return os.Rename(temporary, path)
}

// writeThrough writes a file that the loss of power spares: the spool forgets the lines.
func writeThrough(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, processors.Blocking(file.Sync), file.Close())
}

// files lists the files, and sums up their size.
func (d *deadLetters) files() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var names []string
	d.size = 0
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue // gone meanwhile, or not ours
		}
		d.size += info.Size()
		if filepath.Ext(entry.Name()) == ".ndjson" {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// read reads one file as a batch.
func (d *deadLetters) read(name string) (*Batch, error) {
	file, err := os.Open(filepath.Join(d.dir, name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b := new(Batch)
	decoder := json.NewDecoder(bufio.NewReader(file))
	for decoder.More() {
		var l letter
		if err := decoder.Decode(&l); err != nil {
			return nil, fmt.Errorf("reading the dead letters %s: %w", file.Name(), err)
		}
		if b.Node != "" && (b.Node != l.Node || b.Epoch != l.Epoch) || l.Seq == 0 {
			return nil, fmt.Errorf("the dead letters %s are not of one batch", file.Name())
		}
		data := l.Base64
		if data == nil {
			data = []byte(l.Line)
		}
		b.Node, b.Epoch = l.Node, l.Epoch
		b.Lines = append(b.Lines, Line{Seq: l.Seq, Time: l.Time, Data: data})
	}
	if len(b.Lines) == 0 {
		return nil, fmt.Errorf("the dead letters %s are empty", file.Name())
	}
	return b, nil
}

// replayed is what became of dead letters that were sent again.
type replayed struct {
	// Delivered lines were taken this time, Refused ones were not.
	Delivered uint64 `json:"delivered"`
	// Refused lines stay where they are.
	Refused uint64 `json:"refused"`
}

// replay sends every dead letter again, once. Those that are taken leave the directory. Its error ends it: the sink is away.
func (sh *shipper) replay() (replayed, error) {
	sh.mu.Lock()
	d := sh.dead
	sh.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	var sum replayed
	names, err := d.files()
	if err != nil {
		return sum, err
	}
	for _, name := range names {
		batch, err := d.read(name)
		if err != nil {
			return sum, err
		}
		got := outcome{batch: batch, once: true}
		if err := sh.deliverPart(&got, 0, len(batch.Lines)); err != nil {
			return sum, fmt.Errorf("sending %s again: %w", name, err)
		}
		if err := d.replace(name, got); err != nil {
			return sum, err
		}
		if err := sh.cursor.Revive(got.delivered); err != nil {
			return sum, err
		}
		sum.Delivered += got.delivered
		sum.Refused += uint64(len(got.refused))
	}
	return sum, nil
}

// replace leaves the lines of a file that were refused again.
func (d *deadLetters) replace(name string, got outcome) error {
	switch {
	case got.delivered == 0:
		return nil
	case len(got.refused) == 0:
		return os.Remove(filepath.Join(d.dir, name))
	}
	text, err := got.letters()
	if err != nil {
		return err
	}
	return d.write(name, text)
}
