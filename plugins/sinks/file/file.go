// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package file is the log sink `file`: it appends lines to a file, each exactly once.
package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/logship"
	"github.com/gatehouse-proxy/gatehouse/modules/processors"
)

func init() { caddy.RegisterModule(new(Sink)) }

// Sink appends lines to a file as NDJSON, and waits until they are on the disk. A line that the file has already is not
// written again, and what a crash left half-written is removed first. The file should belong to one spool: of
// several, each has all of its lines there, but after a crash the last batch of one may be there twice. Another program
// may rename the file: a new one is begun then.
type Sink struct {
	// Path is the file's, which is made with mode 0600, and its directories with 0700. Placeholders of the process ({env.*})
	// are expanded. Required.
	Path string `json:"path,omitempty"`
	// RollSize begins a new file when this one has so many bytes; the old one is renamed, with the origin of its last line
	// behind its name. Default (and zero): the file grows for ever.
	RollSize int64 `json:"roll_size,omitempty"`
	// RollKeep is how many such files are kept; older ones are deleted. Default (and zero): all.
	RollKeep int `json:"roll_keep,omitempty"`

	path string

	mu    sync.Mutex // guards what follows
	ended bool       // the config is gone: the file is closed after each batch
	file  *os.File   // nil before the first line, and after an error
	size  int64
	last  logship.Stamp // of the last line; zero if there is none
	text  []byte
}

// CaddyModule returns the Caddy module information.
func (*Sink) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: logship.Namespace + ".file", New: func() caddy.Module { return new(Sink) }}
}

// UnmarshalCaddyfile reads the sink's options. Syntax:
//
//	sink file <path> {
//		roll_size <size>
//		roll_keep <n>
//	}
func (s *Sink) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := directive.Arg(d, &s.Path, directive.Word); err != nil {
		return err
	}
	return directive.Block(d, directive.Options{
		"roll_size": func() error { return directive.Arg(d, &s.RollSize, directive.Size) },
		"roll_keep": func() error { return directive.Arg(d, &s.RollKeep, directive.Integer(1, 1_000_000)) },
	})
}

// Provision checks the options. It opens nothing.
func (s *Sink) Provision(caddy.Context) error {
	if s.Path == "" {
		return errors.New("path: expected the path of a file")
	}
	if s.RollSize < 0 || s.RollKeep < 0 || s.RollKeep > 0 && s.RollSize == 0 {
		return errors.New("roll_size and roll_keep: expected zero or more, and a size where files are to be kept")
	}
	path, err := caddy.NewReplacer().ReplaceOrErr(s.Path, true, true)
	if err == nil {
		s.path, err = filepath.Abs(path)
	}
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	return nil
}

// Send implements logship.Sink.
func (s *Sink) Send(ctx context.Context, batch *logship.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.open(); err != nil {
		return err
	}
	if s.ended {
		defer s.close()
	}
	s.text = s.text[:0]
	last := s.last
	for i, line := range batch.Lines {
		origin := logship.Stamp{Node: batch.Node, Epoch: batch.Epoch, Seq: line.Seq}
		if has(s.last, origin) {
			continue
		}
		s.text = append(batch.AppendJSON(s.text, i), '\n')
		last = origin
	}
	if err := s.write(); err != nil {
		// Whatever is in the file now is found out when it is opened again.
		return errors.Join(fmt.Errorf("writing to %s: %w", s.path, err), s.close())
	}
	s.size += int64(len(s.text))
	s.last = last
	return s.roll()
}

// has reports whether a file whose last line has one origin has another line already: the lines of a spool come in order, and
// what is sent again is the last batch, which is of one epoch. A line of another epoch is another spool's.
func has(last, line logship.Stamp) bool {
	return last.Node == line.Node && last.Epoch == line.Epoch && line.Seq <= last.Seq
}

func (s *Sink) write() error {
	if len(s.text) == 0 {
		return nil
	}
	if _, err := s.file.Write(s.text); err != nil {
		return err
	}
	return processors.Blocking(s.file.Sync)
}

// open opens the file, unless it is open and still has its name.
func (s *Sink) open() error {
	if s.file != nil {
		if s.named() {
			return nil
		}
		if err := s.close(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	size, last, err := repair(file)
	if err != nil {
		return errors.Join(fmt.Errorf("reading the end of %s: %w", s.path, err), file.Close())
	}
	s.file, s.size = file, size
	if last != (logship.Stamp{}) || s.last == (logship.Stamp{}) {
		s.last = last
	}
	return nil
}

// named reports whether the open file is the one of that path.
func (s *Sink) named() bool {
	open, err := s.file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(s.path)
	return err == nil && os.SameFile(open, named)
}

// roll begins a new file if this one is large enough.
func (s *Sink) roll() error {
	if s.RollSize == 0 || s.size < s.RollSize {
		return nil
	}
	if err := s.close(); err != nil {
		return err
	}
	// With the numbers padded, names sort by age.
	rolled := fmt.Sprintf("%s.%s-%020d-%020d", s.path, s.last.Node, s.last.Epoch, s.last.Seq)
	if err := os.Rename(s.path, rolled); err != nil {
		return nil // the lines are safe; it is tried again with the next batch
	}
	s.prune()
	return nil
}

// prune deletes the oldest rolled files. One that cannot be deleted is met again with the next.
func (s *Sink) prune() {
	if s.RollKeep == 0 {
		return
	}
	dir, base := filepath.Split(s.path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var rolled []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), base+"."+s.last.Node+"-") {
			rolled = append(rolled, entry.Name())
		}
	}
	slices.Sort(rolled)
	for _, name := range rolled[:max(len(rolled)-s.RollKeep, 0)] {
		_ = os.Remove(filepath.Join(dir, name))
	}
}

// close closes the file, if it is open.
func (s *Sink) close() error {
	if s.file == nil {
		return nil
	}
	file := s.file
	s.file = nil
	return file.Close()
}

// Cleanup implements caddy.CleanerUpper.
func (s *Sink) Cleanup() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return s.close()
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Sink)(nil)
	_ caddy.CleanerUpper    = (*Sink)(nil)
	_ caddyfile.Unmarshaler = (*Sink)(nil)
	_ logship.Sink          = (*Sink)(nil)
)
