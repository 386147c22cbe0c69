// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package logshiptest holds the tests that every implementation of logship.Sink must pass, and a relay that fails like a
// network.
package logshiptest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/logship"
)

const (
	// patience bounds every wait of the suite: a sink that is well is far quicker.
	patience = 20 * time.Second
	// hurry is the deadline of a send that must fail by it.
	hurry = 500 * time.Millisecond
	// promptly is how long a sink may take to return when its context has ended, on a machine that does other things too.
	promptly = 10 * time.Second
	// node and epoch are the origin of the suite's lines.
	node  = "test-node.1"
	epoch = 1_700_000_000_000
)

// Subject is a sink that is tested, with the server behind it.
type Subject struct {
	// Sink is provisioned. It is cleaned up by whoever made it.
	Sink logship.Sink
	// Received returns every line that the server holds, as logship.Batch.AppendJSON wrote it (other keys of the object,
	// and another order of keys, are welcome), in the order in which it holds them.
	Received func() ([]string, error)
	// Break makes the server unreachable, Stall has it accept and never answer, Mend ends both. They are nil where there is
	// no server.
	Break, Stall, Mend func()
	// Poison is a line that the server refuses for good; nil if it takes any.
	Poison []byte
	// Dedupes says that lines which are sent twice are held once.
	Dedupes bool
}

// Run tests a sink. open returns one with an empty server of its own; it is called once for each part of the suite.
func Run(t *testing.T, open func(t *testing.T) *Subject) {
	for name, test := range map[string]func(*testing.T, *Subject){
		"one line":             oneLine,
		"kinds of lines":       kindsOfLines,
		"order":                order,
		"many lines":           manyLines,
		"keeps nothing":        keepsNothing,
		"sent twice":           sentTwice,
		"ended context":        endedContext,
		"server away":          serverAway,
		"server stalls":        serverStalls,
		"poison alone":         poisonAlone,
		"poison among others":  poisonAmongOthers,
		"gaps in the numbers":  gapsInTheNumbers,
		"lines of other times": linesOfOtherTimes,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Batch makes a batch of these lines, numbered from first, each a millisecond after the one before.
func Batch(first uint64, lines ...string) *logship.Batch {
	b := &logship.Batch{Node: node, Epoch: epoch}
	begin := time.Now().UTC().Truncate(time.Millisecond).Add(-time.Duration(len(lines)) * time.Millisecond)
	for i, line := range lines {
		b.Lines = append(b.Lines, logship.Line{
			Seq: first + uint64(i), Time: begin.Add(time.Duration(i) * time.Millisecond), Data: []byte(line),
		})
	}
	return b
}

// Access returns n lines as Caddy logs requests, some 450 bytes each.
func Access(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"level":"info","ts":%d.%06d,"logger":"http.log.access.log0","msg":"handled request",`+
			`"request":{"remote_ip":"203.0.113.%d","remote_port":"%d","client_ip":"203.0.113.%d","proto":"HTTP/2.0",`+
			`"method":"GET","host":"shop.example.com","uri":"/products/%d?page=%d","headers":{"User-Agent":`+
			`["Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101"],"Accept":["*/*"]}},"bytes_read":0,"user_id":"",`+
			`"duration":0.000%03d,"size":%d,"status":200,"resp_headers":{"Content-Type":["text/html"]}}`,
			1_700_000_000+i/1000, i%1000*1000, i%250, 1024+i%60000, i%250, i*7919%100003, i%17, i%1000, i*31%50000)
	}
	return lines
}

// Send sends within the suite's patience and fails the test on an error.
func (s *Subject) Send(t *testing.T, b *logship.Batch) {
	t.Helper()
	if err := s.try(t.Context(), b, patience); err != nil {
		t.Fatalf("Send: %v", err)
	}
}

func (s *Subject) try(ctx context.Context, b *logship.Batch, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return s.Sink.Send(ctx, b)
}

// numbers returns the numbers of what the server holds, which may show it a moment later.
func (s *Subject) numbers(t *testing.T, atLeast int) []uint64 {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		lines, err := s.Received()
		if err == nil && len(lines) >= atLeast {
			return numbersOf(t, lines)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server holds %d lines after %s, want %d (%v)", len(lines), patience, atLeast, err)
		}
	}
}

func numbersOf(t *testing.T, lines []string) []uint64 {
	t.Helper()
	numbers := make([]uint64, len(lines))
	for i, line := range lines {
		stamp, err := logship.ReadStamp([]byte(line))
		if err != nil || stamp.Node != node || stamp.Epoch != epoch {
			t.Fatalf("the server holds %.200q, which has not the origin that was sent: %+v, %v", line, stamp, err)
		}
		numbers[i] = stamp.Seq
	}
	return numbers
}

// want compares what the server holds with the numbers of the lines sent.
func (s *Subject) want(t *testing.T, want ...uint64) {
	t.Helper()
	if got := s.numbers(t, len(want)); !slices.Equal(got, want) {
		t.Errorf("the server holds the lines %v, want %v", got, want)
	}
}

// span lists the numbers from first to last.
func span(first, last uint64) []uint64 {
	var all []uint64
	for n := first; n <= last; n++ {
		all = append(all, n)
	}
	return all
}

func oneLine(t *testing.T, s *Subject) {
	s.Send(t, Batch(1, `{"msg":"handled request","status":200}`))
	s.want(t, 1)
	lines, err := s.Received()
	if err != nil || !strings.Contains(lines[0], `"handled request"`) || !strings.Contains(lines[0], `"status"`) {
		t.Errorf("the server holds %q, %v", lines, err)
	}
}

func kindsOfLines(t *testing.T, s *Subject) {
	lines := []string{
		`{}`, `{"a":1}`, ` { "a" : "b\nc\\\"d" } `, `plain text of the console encoder`, `"quoted"`, `[1,2]`, `{not json`,
		"tab\tand\rreturn\x00\x1b[31m", "two\nlines", "bytes that are no text: \xff\xfe", `äöü 日本 🎉`,
		`{"ä":"日本 🎉 \u0000"}`, `{"long":"` + strings.Repeat("x", 100_000) + `"}`, ``,
	}
	s.Send(t, Batch(1, lines...))
	s.want(t, span(1, uint64(len(lines)))...)
}

func order(t *testing.T, s *Subject) {
	lines := Access(500)
	for first := 0; first < len(lines); first += 50 {
		s.Send(t, Batch(uint64(first)+1, lines[first:first+50]...))
	}
	s.want(t, span(1, 500)...)
}

func manyLines(t *testing.T, s *Subject) {
	s.Send(t, Batch(1, Access(5000)...))
	s.want(t, span(1, 5000)...)
}

func keepsNothing(t *testing.T, s *Subject) {
	b := Batch(1, Access(100)...)
	s.Send(t, b)
	for i := range b.Lines {
		clear(b.Lines[i].Data)
	}
	clear(b.Lines)
	s.Send(t, Batch(101, Access(100)...))
	s.want(t, span(1, 200)...)
}

func sentTwice(t *testing.T, s *Subject) {
	lines := Access(20)
	again := Batch(1, lines...) // with the times it had
	s.Send(t, again)
	s.Send(t, again)
	s.Send(t, Batch(21, lines...))
	want := slices.Concat(span(1, 20), span(1, 20), span(21, 40))
	if s.Dedupes {
		want = span(1, 40)
	}
	s.want(t, want...)
}

func endedContext(t *testing.T, s *Subject) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.try(ctx, Batch(1, Access(1)...), patience)
	temporary(t, err)
	s.Send(t, Batch(1, Access(1)...))
}

// temporary fails the test unless the error has the host try again.
func temporary(t *testing.T, err error) {
	t.Helper()
	var rejection *logship.Rejection
	if err == nil {
		t.Error("Send succeeded, though nothing can have taken the lines")
	} else if errors.As(err, &rejection) {
		t.Errorf("the error has the host put the lines into the dead letters: %v", err)
	}
}

func serverAway(t *testing.T, s *Subject) {
	if s.Break == nil {
		return // no server
	}
	s.Send(t, Batch(1, Access(10)...))
	s.Break()
	for range 3 {
		temporary(t, s.try(t.Context(), Batch(11, Access(10)...), hurry))
	}
	s.Mend()
	s.eventually(t, Batch(11, Access(10)...))
	s.want(t, span(1, 20)...)
}

// eventually sends again until it succeeds, as the host does: a sink may need a moment to find its server again.
func (s *Subject) eventually(t *testing.T, b *logship.Batch) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := s.try(t.Context(), b, patience)
		if err == nil {
			return
		}
		temporary(t, err)
		if time.Now().After(deadline) {
			t.Fatalf("the server is back, and sending still fails: %v", err)
		}
	}
}

// serverStalls may leave a batch with the server twice: nobody can know what became of the first.
func serverStalls(t *testing.T, s *Subject) {
	if s.Stall == nil {
		return // no server
	}
	s.Send(t, Batch(1, Access(10)...))
	s.Stall()
	begun := time.Now()
	temporary(t, s.try(t.Context(), Batch(11, Access(10)...), hurry))
	if took := time.Since(begun); took > hurry+promptly {
		t.Errorf("Send returned %s after its context had ended", took-hurry)
	}
	s.Mend()
	s.eventually(t, Batch(11, Access(10)...))
	got := slices.Compact(slices.Sorted(slices.Values(s.numbers(t, 20))))
	if !slices.Equal(got, span(1, 20)) {
		t.Errorf("the server holds the lines %v, want 1 to 20", got)
	}
}

func poisonAlone(t *testing.T, s *Subject) {
	if s.Poison == nil {
		return // takes anything
	}
	var rejection *logship.Rejection
	if err := s.try(t.Context(), Batch(1, string(s.Poison)), patience); !errors.As(err, &rejection) {
		t.Errorf("a line that the server refuses for good gives %v, which has the host send it for ever", err)
	}
	s.Send(t, Batch(2, Access(1)...))
	s.want(t, 2)
}

func poisonAmongOthers(t *testing.T, s *Subject) {
	if s.Poison == nil {
		return // takes anything
	}
	lines := Access(40)
	lines[17] = string(s.Poison)
	dead := s.bisect(t, Batch(1, lines...))
	if !slices.Equal(dead, []uint64{18}) {
		t.Errorf("the refused lines are %v, want 18", dead)
	}
	s.want(t, slices.Concat(span(1, 17), span(19, 40))...)
}

// bisect delivers a batch as the host does, and returns the numbers of the lines that the sink refuses.
func (s *Subject) bisect(t *testing.T, b *logship.Batch) []uint64 {
	t.Helper()
	err := s.try(t.Context(), b, patience)
	var rejection *logship.Rejection
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &rejection):
		t.Fatalf("Send: %v", err)
	case len(rejection.Lines) > 0:
		var dead []uint64
		for _, i := range rejection.Lines {
			dead = append(dead, b.Lines[i].Seq)
		}
		return dead
	case len(b.Lines) == 1:
		return []uint64{b.Lines[0].Seq}
	}
	half := len(b.Lines) / 2
	head, tail := *b, *b
	head.Lines, tail.Lines = b.Lines[:half], b.Lines[half:]
	return slices.Concat(s.bisect(t, &head), s.bisect(t, &tail))
}

func gapsInTheNumbers(t *testing.T, s *Subject) {
	b := Batch(1, Access(3)...)
	b.Lines[1].Seq, b.Lines[2].Seq = 5, 1<<40
	s.Send(t, b)
	s.want(t, 1, 5, 1<<40)
}

// linesOfOtherTimes: after an outage lines are old, and a clock that was set back makes later ones earlier.
func linesOfOtherTimes(t *testing.T, s *Subject) {
	b := Batch(1, Access(4)...)
	now := b.Lines[0].Time
	b.Lines[0].Time = now.Add(-24 * time.Hour)
	b.Lines[2].Time = now.Add(-time.Hour)
	b.Lines[3].Time = b.Lines[2].Time
	s.Send(t, b)
	got := s.numbers(t, 4)
	slices.Sort(got)
	if !slices.Equal(got, span(1, 4)) {
		t.Errorf("the server holds the lines %v, want 1 to 4", got)
	}
}
