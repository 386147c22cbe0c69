// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/logshiptest"
	"github.com/gatehouse-proxy/gatehouse/plugins/sinks/file"
)

func open(t *testing.T, s *file.Sink) *logshiptest.Subject {
	t.Helper()
	return &logshiptest.Subject{Sink: gatehousetest.Provision(t, s), Dedupes: true, Received: func() ([]string, error) { return lines(s.Path) }}
}

// lines reads the file and those that were rolled, oldest first.
func lines(path string) ([]string, error) {
	names, err := filepath.Glob(path + ".*")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, name := range append(names, path) {
		text, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			all = append(all, strings.TrimSuffix(line, "\n"))
		}
	}
	return all, nil
}

func TestConformance(t *testing.T) {
	logshiptest.Run(t, func(t *testing.T) *logshiptest.Subject {
		return open(t, &file.Sink{Path: filepath.Join(t.TempDir(), "logs", "access.ndjson")})
	})
}

func TestConformanceRolling(t *testing.T) {
	logshiptest.Run(t, func(t *testing.T) *logshiptest.Subject {
		return open(t, &file.Sink{Path: filepath.Join(t.TempDir(), "access.ndjson"), RollSize: 4096})
	})
}

// A process that was killed while it wrote leaves half a line, and has not told the host that the others are there.
func TestHalfWrittenLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.ndjson")
	first := open(t, &file.Sink{Path: path})
	first.Send(t, logshiptest.Batch(1, logshiptest.Access(10)...))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{1, 100, len(text) / 2, len(text) - 1} {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "access.ndjson")
			if err := os.WriteFile(path, text[:len(text)-cut], 0o600); err != nil {
				t.Fatal(err)
			}
			again := open(t, &file.Sink{Path: path})
			again.Send(t, logshiptest.Batch(1, logshiptest.Access(10)...))
			got, err := lines(path)
			if err != nil || len(got) != 10 {
				t.Fatalf("the file has %d lines, want 10 (%v)", len(got), err)
			}
		})
	}
}

func TestRenamedByAnotherProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.ndjson")
	s := open(t, &file.Sink{Path: path})
	s.Send(t, logshiptest.Batch(1, logshiptest.Access(5)...))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	s.Send(t, logshiptest.Batch(6, logshiptest.Access(5)...))
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), "\n") != 5 {
		t.Fatalf("the new file has %d lines, want 5 (%v)", strings.Count(string(text), "\n"), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v (%v)", info.Mode(), err)
	}
}

// Two spools of one node that write to one file, by mistake: no line may be taken for one that is there.
func TestTwoSpoolsInOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.ndjson")
	spools := []*logshiptest.Subject{open(t, &file.Sink{Path: path}), open(t, &file.Sink{Path: path})}
	for first := uint64(1); first < 30; first += 3 {
		for i, s := range spools {
			batch := logshiptest.Batch(first, logshiptest.Access(3)...)
			batch.Epoch -= uint64(i)
			s.Send(t, batch)
		}
	}
	got, err := lines(path)
	if err != nil || len(got) != 60 {
		t.Fatalf("the file has %d lines, want 60 (%v)", len(got), err)
	}
}

func TestRollKeep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.ndjson")
	s := open(t, &file.Sink{Path: path, RollSize: 1, RollKeep: 3})
	for i := range 10 {
		s.Send(t, logshiptest.Batch(uint64(i)*2+1, logshiptest.Access(2)...))
	}
	got, err := lines(path)
	if err != nil || len(got) != 6 || !strings.Contains(got[0], `"ship_seq":15,`) {
		t.Fatalf("the kept files have %d lines (%v), the first %.80s", len(got), err, got[0])
	}
}

func TestConfig(t *testing.T) {
	for name, s := range map[string]*file.Sink{
		"no path": {}, "keep alone": {Path: "x", RollKeep: 1}, "negative": {Path: "x", RollSize: -1},
		"placeholder": {Path: "{env.NO_SUCH_VARIABLE}"},
	} {
		if err := s.Provision(gatehousetest.Context(t)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
