// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	away := errors.New("away")
	tests := map[string]struct {
		err  error
		n    int
		want verdict
	}{
		"taken":                  {nil, 3, verdict{done: true}},
		"away":                   {away, 3, verdict{}},
		"asked to wait":          {&Delay{After: time.Second, Err: away}, 3, verdict{after: time.Second}},
		"asked to wait for ever": {&Delay{After: 1000 * time.Hour, Err: away}, 3, verdict{after: maxDelay}},
		"asked to be quick":      {&Delay{After: -time.Hour, Err: away}, 3, verdict{}},
		"batch refused":          {&Rejection{Err: away}, 3, verdict{split: true}},
		"line refused":           {&Rejection{Err: away}, 1, verdict{done: true, refused: []int{0}}},
		"wrapped":                {fmt.Errorf("x: %w", &Rejection{Err: away}), 2, verdict{split: true}},
		"some refused":           {&Rejection{Lines: []int{0, 2}, Err: away}, 3, verdict{done: true, refused: []int{0, 2}}},
		"refused none there":     {&Rejection{Lines: []int{3}, Err: away}, 3, verdict{}},
		"refused below zero":     {&Rejection{Lines: []int{-1}, Err: away}, 3, verdict{}},
		"refused twice":          {&Rejection{Lines: []int{1, 1}, Err: away}, 3, verdict{}},
		"refused in disorder":    {&Rejection{Lines: []int{2, 1}, Err: away}, 3, verdict{}},
	}
	for name, test := range tests {
		if got := judge(test.err, test.n); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	for _, failures := range []int{1, 2, 3, 10, 40, 1 << 20} {
		bound := min(time.Duration(float64(100*time.Millisecond)*float64(uint64(1)<<min(failures-1, 20))), 30*time.Second)
		highest := time.Duration(0)
		for range 2000 {
			got := backoff(failures, 100*time.Millisecond, 30*time.Second)
			if got <= 0 || got > bound+time.Millisecond {
				t.Fatalf("after %d failures it waits %s, above %s", failures, got, bound)
			}
			highest = max(highest, got)
		}
		if highest < bound*9/10 {
			t.Errorf("after %d failures it waits %s at most, want up to %s", failures, highest, bound)
		}
	}
}

func FuzzAppendJSON(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"a":1}`, " { } ", "{", "}", "text", `{"a":"\n"}`, "{\"a\":\n1}", "\xff", `{1}`, `{]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b := &Batch{Node: "n", Epoch: 2, Lines: []Line{{Seq: 3, Time: time.Unix(1, 0), Data: data}}}
		got := b.AppendJSON(nil, 0)
		if strings.ContainsRune(string(got), '\n') {
			t.Fatalf("%q gives %q, which is more than a line", data, got)
		}
		object := map[string]json.RawMessage{}
		if json.Unmarshal(data, &object) == nil || !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
			if err := json.Unmarshal(got, new(map[string]json.RawMessage)); err != nil {
				t.Fatalf("%q gives %q: %v", data, got, err)
			}
		}
	})
}

func TestVerifier(t *testing.T) {
	line := func(node string, epoch, seq uint64) string {
		return fmt.Sprintf(`{"ship_node":%q,"ship_epoch":%d,"ship_seq":%d}`, node, epoch, seq)
	}
	var lines []string
	for seq := uint64(1); seq <= 1000; seq++ {
		if seq < 300 || seq > 304 && seq != 700 {
			lines = append(lines, line("a", 10+seq/500, seq))
		}
	}
	lines = append(lines, line("a", 10, 5), line("b", 7, 40), line("b", 7, 42), "nonsense", "{}", "")
	var ordered, shuffled Verifier
	if err := ordered.Read(strings.NewReader(strings.Join(lines, "\n"))); err != nil {
		t.Fatal(err)
	}
	rand.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	if err := shuffled.Read(strings.NewReader(strings.Join(lines, "\n"))); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]*Verifier{"ordered": &ordered, "shuffled": &shuffled} {
		r := v.Report()
		if r.Lines != 997 || r.Missing != 7 || r.Duplicates != 1 || r.Unreadable != 2 {
			t.Errorf("%s: %+v", name, r)
		}
		want := []Gap{{10, 300, 304}, {11, 700, 700}}
		if len(r.Nodes) != 2 || r.Nodes[0].Lines != 994 || r.Nodes[0].Epochs != 3 || !reflect.DeepEqual(r.Nodes[0].Gaps, want) {
			t.Errorf("%s: %+v", name, r.Nodes)
		}
	}
	if r := ordered.Report(); r.Disordered != 0 {
		t.Errorf("lines in order: %+v", r)
	}
}

func FuzzReadStamp(f *testing.F) {
	f.Add([]byte(`{"ship_node":"a","ship_epoch":1,"ship_seq":2}`))
	f.Add([]byte(`{"ship_node":"a","ship_epoch":-1,"ship_seq":1e9}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if stamp, err := ReadStamp(data); err == nil && (stamp.Node == "" || stamp.Seq == 0) {
			t.Fatalf("%q gives %+v", data, stamp)
		}
		var v Verifier
		if err := v.Add(data); err != nil {
			t.Fatal(err)
		}
	})
}
