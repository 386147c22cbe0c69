// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package processwide_test

import (
	"slices"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/processwide"
)

type process struct{ n float64 }

func figure(p *process) float64 { return p.n }

func TestPoolHoldsOne(t *testing.T) {
	pool := processwide.NewPool[process]()
	if n := pool.Read(figure); n != 0 {
		t.Errorf("before anything refers to it, it reads %v", n)
	}
	first, one, err := pool.Take()
	if err != nil {
		t.Fatal(err)
	}
	first.n = 7
	second, two, err := pool.Take()
	if err != nil {
		t.Fatal(err)
	}
	if first != second {
		t.Error("there are two")
	}
	if err := one.Release(); err != nil {
		t.Fatal(err)
	}
	if n := pool.Read(figure); n != 7 {
		t.Errorf("while something refers to it, it reads %v, want 7", n)
	}
	if err := two.Release(); err != nil {
		t.Fatal(err)
	}
	if n := pool.Read(figure); n != 0 {
		t.Errorf("after nothing refers to it any more, it reads %v", n)
	}
}

func TestAdaptKeepsTheOperatorsWord(t *testing.T) {
	pool := processwide.NewPool[process]()
	adapt := func() {
		if err := pool.Adapt("PROCESSWIDE_TEST", func(p *process) { p.n = 1 }); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PROCESSWIDE_TEST", "2")
	adapt()
	if n := pool.Read(figure); n != 0 {
		t.Errorf("with the variable set, it reads %v", n)
	}
	t.Setenv("PROCESSWIDE_TEST", "")
	adapt()
	if n := pool.Read(figure); n != 1 {
		t.Errorf("without, it reads %v and not 1 for good", n)
	}
}

func TestLastUserCounts(t *testing.T) {
	var users processwide.Users[int]
	expect := func(want ...int) {
		t.Helper()
		last, ok := users.Last()
		if ok != (len(want) > 0) || (ok && last != want[len(want)-1]) || !slices.Equal(users.Settings(), want) {
			t.Errorf("%d, %v of %v, want the last of %v", last, ok, users.Settings(), want)
		}
	}
	remove := func(owner string, wantFound, wantCounted bool) {
		t.Helper()
		if found, counted := users.Remove(owner); found != wantFound || counted != wantCounted {
			t.Errorf("removing %s: found %v, counted %v; want %v, %v", owner, found, counted, wantFound, wantCounted)
		}
	}
	expect()
	remove("nobody", false, false)
	users.Add("main", 1)
	users.Add("before", 2)
	users.Add("after", 3)
	expect(1, 2, 3)
	remove("before", true, false)
	remove("before", false, false)
	expect(1, 3)
	remove("after", true, true)
	expect(1)
	remove("main", true, true)
	expect()
}
