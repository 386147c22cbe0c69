// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"testing"
)

func TestBreakerTransitions(t *testing.T) {
	boom := errors.New("boom")
	type step func(b *breaker)
	var (
		open    step = func(b *breaker) { b.open(boom) }
		recover step = func(b *breaker) { b.close() }
		end     step = func(b *breaker) { b.end() }
	)
	for _, test := range []struct {
		name  string
		steps []step
		state State
		err   error
		opens uint64
	}{
		{"new", nil, StateUnused, nil, 0},
		{"first probe", []step{recover}, StateUp, nil, 0},
		{"first probe fails", []step{open}, StateDown, ErrUnavailable, 1},
		{"fails twice", []step{recover, open, open}, StateDown, ErrUnavailable, 1},
		{"recovers", []step{recover, open, recover}, StateUp, nil, 1},
		{"fails again", []step{open, recover, open}, StateDown, ErrUnavailable, 2},
		{"closed", []step{recover, end}, StateClosed, ErrClosed, 0},
		{"closed for good", []step{open, end, recover, open}, StateClosed, ErrClosed, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBreaker()
			for _, s := range test.steps {
				before := b.gate.Load()
				s(b)
				if before.err == nil && b.gate.Load().err != nil {
					select {
					case <-before.shut:
					default:
						t.Fatal("those who wait were not released")
					}
				}
			}
			if b.state != test.state || b.gate.Load().err != test.err || b.opens != test.opens {
				t.Fatalf("state %s, gate %v, opens %d", b.state, b.gate.Load().err, b.opens)
			}
		})
	}
}

func TestErrorsAreUnavailable(t *testing.T) {
	for _, err := range []error{ErrUncertain, ErrBusy, ErrClosed} {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v is not ErrUnavailable", err)
		}
	}
}
