// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"context"
	"errors"
	"time"
)

// Namespace is where stores are registered.
const Namespace = "gatehouse.idempotency_stores"

// Errors of a store that callers tell apart. Any other error means that the store is away.
var (
	// ErrUncertain means that a step was sent to the store and no answer came: it may have been carried out. The host
	// then takes back what it may have claimed.
	ErrUncertain = errors.New("the store may or may not have carried it out")
	// ErrFenced means that the record belongs to another attempt, or was resolved by an operator.
	ErrFenced = errors.New("the record is not held by this attempt")
	// ErrFull means that the store has no room for another record.
	ErrFull = errors.New("the store of idempotency records is full")
	// ErrNoRecord means that there is no record under this ID.
	ErrNoRecord = errors.New("no such record")
)

// State says what is known of an operation.
type State int

// The states of a record. There is none for an operation that was not tried, or whose attempt is proven not to have
// reached the application: its record is absent.
const (
	// Absent is no record.
	Absent State = iota
	// Pending is a claim whose owner has sent nothing yet (precise mode). When its lease ends, another attempt takes over.
	Pending
	// Sent is a claim whose owner may have sent the request. When its lease ends it is Unknown, and nothing else.
	Sent
	// Complete is an operation whose answer is known. It never changes again.
	Complete
	// Unknown is an operation that may or may not have taken effect.
	Unknown
	// Foreign is a record in a format that this version does not know. It is never replayed and never overwritten.
	Foreign
)

// String is the state's name, as in the admin API.
func (s State) String() string {
	return [...]string{"absent", "pending", "sent", "complete", "unknown", "foreign"}[s]
}

// Store keeps the records. All of it is atomic for one ID, and the store's own clock decides when a lease ends.
//
// The host calls both methods from any number of goroutines, each call with a deadline. Package idempotencytest holds the
// tests that every implementation must pass.
type Store interface {
	// Claim makes the record if there is none, and returns it as it is then; Record.HeldBy tells whether the claim holds
	// it. It does the following, the first that applies:
	//
	//	no record                              made, with Fence 1
	//	owned by this Owner, and not complete  the claim held already and its answer was lost: held again, the lease anew
	//	another fingerprint                    returned as it is
	//	Pending, lease ended                   held, Fence one higher
	//	Sent, lease ended                      turned Unknown for the reason "lease_expired", then as below
	//	Unknown, and Retry                     held, Fence one higher
	//	otherwise                              returned as it is
	//
	// Claim never changes a Complete or Foreign record.
	Claim(ctx context.Context, claim Claim) (Record, error)
	// Advance takes the owner's next step; ErrFenced if the record is held by another owner or by none. It may be repeated:
	// a step that was taken already succeeds. A record that has turned Unknown by the end of its lease is still its owner's,
	// who knows better: Renew makes it Sent again, Finish Complete. Renew leaves one that its owner doubted as it is, and
	// no step but Finish changes anything about it. Finish makes a record that is absent; every other step leaves it absent and
	// succeeds. Nothing changes a Complete record.
	Advance(ctx context.Context, step Step) error
}

// Ledger is the part of a store that operators use. A store without it cannot be listed or resolved.
type Ledger interface {
	// Get returns a record; ErrNoRecord if there is none.
	Get(ctx context.Context, id string) (Record, error)
	// List returns some of the records in a state, in no particular order, without their answers, and the cursor to go on
	// from; an empty one begins, and is returned at the end. Absent as the state means any.
	List(ctx context.Context, state State, cursor string, limit int) ([]Record, string, error)
	// Resolve turns an Unknown record with this Fence Complete with an answer, or, if that is nil, Absent. Any other
	// record is ErrFenced, none is ErrNoRecord.
	Resolve(ctx context.Context, resolution Resolution) error
}

// Claim asks for the right to carry out an operation.
type Claim struct {
	// ID names the record: 32 hexadecimal digits, an HMAC of scope and key.
	ID string
	// Owner names this attempt: 128 random bits, new for each.
	Owner string
	// Fingerprint is an HMAC of the request, in base64.
	Fingerprint string
	// About says for operators which operation this is. No secrets, at most 512 bytes.
	About string
	// Pending makes the new state Pending instead of Sent.
	Pending bool
	// Retry allows to claim an Unknown record.
	Retry bool
	// Lease is how long the claim holds unless it is renewed. Positive, in whole milliseconds.
	Lease time.Duration
	// Retention is how long the store keeps the record after its last change. At least Lease, in whole milliseconds.
	Retention time.Duration
}

// Act is what an owner does to its record.
type Act int

// The steps of an owner.
const (
	// Renew extends the lease.
	Renew Act = iota
	// Send turns Pending into Sent, and renews the lease.
	Send
	// Finish turns the record Complete, with Answer.
	Finish
	// Release removes the record: the request is proven not to have reached the application.
	Release
	// Doubt turns the record Unknown, with Reason. It stays this owner's.
	Doubt
)

// String is the act's name, as in metrics.
func (a Act) String() string { return [...]string{"renew", "send", "finish", "release", "doubt"}[a] }

// Step is one step of the owner of a record.
type Step struct {
	// ID and Owner are those of the claim.
	ID, Owner string
	// Fingerprint and About are those of the claim, for Finish where the store has lost the record.
	Fingerprint, About string
	// Act is what to do.
	Act Act
	// Answer is an encoded answer, for Finish.
	Answer []byte
	// Reason says why the outcome is unknown, for Doubt: a word.
	Reason string
	// Lease is as in Claim, for Renew and Send.
	Lease time.Duration
	// Retention is as in Claim.
	Retention time.Duration
}

// Resolution is what an operator, or a probe, found out about an Unknown operation.
type Resolution struct {
	// ID is the record's.
	ID string
	// Fence is the record's, so that what was found out about one attempt is not applied to the next.
	Fence int64
	// Answer is what to replay; nil says that nothing happened, and removes the record.
	Answer []byte
	// Retention is as in Claim.
	Retention time.Duration
}

// Record is what the store knows of an operation.
type Record struct {
	// ID is the record's name.
	ID string
	// State is what is known.
	State State
	// Fingerprint is that of the request that made it.
	Fingerprint string
	// Owner is the attempt that holds it; empty after an operator resolved it.
	Owner string
	// Fence counts the attempts that held it.
	Fence int64
	// About is the claim's.
	About string
	// Reason says why the state is Unknown.
	Reason string
	// Answer is the encoded answer of a Complete record.
	Answer []byte
	// Created is when the record was made, LeaseEnds when its lease ends or ended, Expires when the store forgets it: by
	// the store's clock, in whole milliseconds.
	Created, LeaseEnds, Expires time.Time
}

// HeldBy reports whether the owner may carry out the operation.
func (r Record) HeldBy(owner string) bool {
	return r.Owner == owner && (r.State == Pending || r.State == Sent)
}
