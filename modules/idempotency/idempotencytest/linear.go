// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotencytest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/gatehouse-proxy/gatehouse/modules/idempotency"
)

const (
	linearClients = 8
	linearPerKey  = 25 // operations upon one record: the checker's effort grows quickly with it
)

// act is an operation upon one record, as the checker sees it.
type act struct {
	id      string
	owner   string
	claim   bool
	retry   bool
	pending bool
	step    idempotency.Act
}

// seen is what it returned. Lost says that nobody saw it: it may have been carried out at any time since, or never.
type seen struct {
	lost  bool
	state idempotency.State
	owner string
	fence int64
	err   error
}

// CheckLinearizable runs claims and steps of concurrent clients upon records, loses one answer in ten, and checks that what
// the clients saw is what they would have seen one after the other (porcupine). No lease ends meanwhile: how time moves a
// record, the model test checks.
func CheckLinearizable(t *testing.T, store Store, operations int) {
	t.Helper()
	var mu sync.Mutex
	var history []porcupine.Operation
	begun := time.Now()
	var group sync.WaitGroup
	for client := range linearClients {
		group.Go(func() {
			chance := rand.New(rand.NewPCG(uint64(client), uint64(begun.UnixNano())))
			var own []porcupine.Operation
			for i := range operations / linearClients {
				// All clients go through the records at about the same pace, a few at a time.
				record := i * linearClients / linearPerKey
				own = append(own, linearStep(store, client, record+chance.IntN(2), chance, begun))
			}
			mu.Lock()
			defer mu.Unlock()
			history = append(history, own...)
		})
	}
	group.Wait()
	if failed := failures(history); failed > 0 {
		t.Fatalf("%d operations failed", failed)
	}
	switch porcupine.CheckOperationsTimeout(linearModel(), history, 2*time.Minute) {
	case porcupine.Illegal:
		t.Fatalf("%d operations are not linearizable (begun %d)", len(history), begun.UnixNano())
	case porcupine.Unknown:
		t.Fatalf("%d operations could not be checked in time", len(history))
	}
}

func failures(history []porcupine.Operation) (n int) {
	for _, op := range history {
		if err := op.Output.(seen).err; err != nil && !errors.Is(err, idempotency.ErrFenced) {
			n++
		}
	}
	return n
}

// linearStep carries out one operation. The records' names begin with the run's time, so that a store may be used again.
func linearStep(store Store, client, record int, chance *rand.Rand, begun time.Time) porcupine.Operation {
	in := act{
		id:    begun.Format("20060102150405.000000000") + "-" + string(rune('a'+record%26)) + time.Duration(record).String(),
		owner: string(rune('A' + client)), claim: chance.IntN(2) == 0, retry: chance.IntN(4) == 0, pending: chance.IntN(4) == 0,
		step: idempotency.Act(chance.IntN(int(idempotency.Doubt) + 1)),
	}
	out, call := seen{}, time.Since(begun).Nanoseconds()
	if in.claim {
		rec, err := store.Claim(context.Background(), idempotency.Claim{
			ID: in.id, Owner: in.owner, Fingerprint: "p", Retry: in.retry, Pending: in.pending, Lease: long, Retention: 2 * long,
		})
		out.state, out.owner, out.fence, out.err = rec.State, rec.Owner, rec.Fence, err
	} else {
		out.err = store.Advance(context.Background(), idempotency.Step{
			ID: in.id, Owner: in.owner, Fingerprint: "p", Act: in.step, Reason: "x", Answer: []byte("y"), Lease: long, Retention: 2 * long,
		})
	}
	back := time.Since(begun).Nanoseconds()
	if out.err == nil && chance.IntN(10) == 0 {
		out, back = seen{lost: true}, call+int64(time.Hour)
	}
	return porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: back}
}

// linearModel takes each record apart: they are independent.
func linearModel() porcupine.Model {
	model := porcupine.NondeterministicModel{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byID := map[string][]porcupine.Operation{}
			for _, op := range history {
				id := op.Input.(act).id
				byID[id] = append(byID[id], op)
			}
			parts := make([][]porcupine.Operation, 0, len(byID))
			for _, part := range byID {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() []any { return []any{model{}} },
		Step: func(state, input, output any) []any { return linearNext(state.(model), input.(act), output.(seen)) },
	}
	return model.ToModel()
}

// linearNext returns the states that an operation may lead to; none if it cannot have returned what it did.
func linearNext(m model, in act, out seen) []any {
	before := m
	if in.claim {
		m.claim(idempotency.Claim{Owner: in.owner, Fingerprint: "p", Retry: in.retry, Pending: in.pending, Lease: long})
		if !out.lost && (out.state != m.state || out.owner != m.owner || out.fence != m.fence) {
			return nil
		}
	} else {
		err := m.advance(idempotency.Step{Owner: in.owner, Fingerprint: "p", Act: in.step, Answer: []byte("y"), Lease: long})
		if !out.lost && (err == nil) != (out.err == nil) {
			return nil
		}
	}
	if out.lost {
		return []any{m, before} // it may come to nothing, too
	}
	return []any{m}
}
