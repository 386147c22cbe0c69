// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-proxy/gatehouse/modules/idempotency"
	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

// recordOverhead is about what a record takes beside its texts, in bytes.
const recordOverhead = 400

// reasonLeaseExpired is why a record is Unknown whose owner fell silent.
const reasonLeaseExpired = "lease_expired"

// recordTable holds the records. It outlives configs.
type recordTable struct {
	mu      sync.Mutex // guards what follows
	records map[string]*entry
	ends    expiries
	size    int64

	born time.Time // with the monotonic clock, which goes on evenly when the clock is set
}

// entry is a record with its place among the expiries.
type entry struct {
	idempotency.Record
	place int
}

func newRecordTable() *recordTable {
	return &recordTable{records: map[string]*entry{}, born: time.Now()}
}

// now is the table's time, in whole milliseconds. A clock that is set forward, as at the start of a machine without one, must
// not make it forget.
func (t *recordTable) now() time.Time {
	return t.born.Add(time.Since(t.born)).UTC().Truncate(time.Millisecond)
}

// Destruct implements caddy.Destructor.
func (t *recordTable) Destruct() error { return nil }

func (t *recordTable) claim(c idempotency.Claim, maxRecords int, maxSize int64) (idempotency.Record, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	t.forget(now)
	e, ok := t.records[c.ID]
	if !ok {
		if len(t.records) >= maxRecords || t.size >= maxSize {
			return idempotency.Record{}, idempotency.ErrFull
		}
		e = t.add(idempotency.Record{ID: c.ID, Created: now})
		t.hold(e, c, 1, now)
		return e.Record, nil
	}
	switch settle(e, now); {
	case e.State == idempotency.Complete:
	case e.Owner == c.Owner:
		t.hold(e, c, e.Fence, now)
	case e.Fingerprint != c.Fingerprint:
	case e.State == idempotency.Pending && !e.LeaseEnds.After(now), e.State == idempotency.Unknown && c.Retry:
		t.hold(e, c, e.Fence+1, now)
	}
	return e.Record, nil
}

// settle turns a record Unknown whose lease has ended.
func settle(e *entry, now time.Time) {
	if e.State == idempotency.Sent && !e.LeaseEnds.After(now) {
		e.State, e.Reason = idempotency.Unknown, reasonLeaseExpired
	}
}

func (t *recordTable) hold(e *entry, c idempotency.Claim, fence int64, now time.Time) {
	t.resize(e, func() {
		e.State = idempotency.Sent
		if c.Pending {
			e.State = idempotency.Pending
		}
		e.Fingerprint, e.Owner, e.About, e.Fence, e.Reason = c.Fingerprint, c.Owner, c.About, fence, ""
		e.LeaseEnds = now.Add(c.Lease)
	})
	t.keep(e, now.Add(c.Retention))
}

func (t *recordTable) advance(s idempotency.Step) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	t.forget(now)
	e, ok := t.records[s.ID]
	switch {
	case !ok && s.Act != idempotency.Finish:
		return nil
	case !ok:
		e = t.add(idempotency.Record{
			ID: s.ID, State: idempotency.Sent, Fingerprint: s.Fingerprint, Owner: s.Owner, About: s.About, Fence: 1,
			Created: now, LeaseEnds: now,
		})
	case e.Owner != s.Owner:
		return idempotency.ErrFenced
	}
	settle(e, now)
	doubted := e.State == idempotency.Unknown && e.Reason != reasonLeaseExpired
	if e.State == idempotency.Complete || doubted && s.Act != idempotency.Finish {
		return nil
	}
	t.step(e, s, now)
	return nil
}

// step takes a step that is allowed.
func (t *recordTable) step(e *entry, s idempotency.Step, now time.Time) {
	switch s.Act {
	case idempotency.Release:
		t.remove(e)
		return
	case idempotency.Doubt:
		e.State, e.Reason = idempotency.Unknown, s.Reason
	case idempotency.Finish:
		t.resize(e, func() { e.State, e.Reason, e.Answer = idempotency.Complete, "", slices.Clone(s.Answer) })
	default:
		if s.Act == idempotency.Send || e.State == idempotency.Unknown {
			e.State = idempotency.Sent
		}
		e.Reason, e.LeaseEnds = "", now.Add(s.Lease)
	}
	t.keep(e, now.Add(s.Retention))
}

func (t *recordTable) get(id string) (idempotency.Record, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	t.forget(now)
	e, ok := t.records[id]
	if !ok {
		return idempotency.Record{}, idempotency.ErrNoRecord
	}
	settle(e, now)
	return e.Record, nil
}

func (t *recordTable) list(state idempotency.State, after string, limit int) (found []idempotency.Record, next string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	t.forget(now)
	var ids []string
	for id, e := range t.records {
		settle(e, now)
		if id > after && (state == idempotency.Absent || e.State == state) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	if len(ids) > limit {
		ids = ids[:limit]
		next = ids[limit-1]
	}
	for _, id := range ids {
		rec := t.records[id].Record
		rec.Answer = nil
		found = append(found, rec)
	}
	return found, next
}

func (t *recordTable) resolve(r idempotency.Resolution) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	t.forget(now)
	e, ok := t.records[r.ID]
	if !ok {
		return idempotency.ErrNoRecord
	}
	settle(e, now)
	switch {
	case e.State != idempotency.Unknown || e.Fence != r.Fence:
		return idempotency.ErrFenced
	case r.Answer == nil:
		t.remove(e)
		return nil
	}
	t.resize(e, func() { e.State, e.Reason, e.Owner, e.Answer = idempotency.Complete, "", "", slices.Clone(r.Answer) })
	t.keep(e, now.Add(r.Retention))
	return nil
}

// The following keep the table, the expiries and the size in step.

func (t *recordTable) add(rec idempotency.Record) *entry {
	e := &entry{Record: rec}
	t.records[rec.ID] = e
	t.size += sizeOf(e)
	heap.Push(&t.ends, e)
	return e
}

func (t *recordTable) remove(e *entry) {
	delete(t.records, e.ID)
	t.size -= sizeOf(e)
	heap.Remove(&t.ends, e.place)
}

func (t *recordTable) resize(e *entry, change func()) {
	t.size -= sizeOf(e)
	change()
	t.size += sizeOf(e)
}

func (t *recordTable) keep(e *entry, until time.Time) {
	e.Expires = until
	heap.Fix(&t.ends, e.place)
}

// forget removes what has expired.
func (t *recordTable) forget(now time.Time) {
	for len(t.ends) > 0 && !t.ends[0].Expires.After(now) {
		t.remove(t.ends[0])
	}
}

func sizeOf(e *entry) int64 {
	return int64(recordOverhead + len(e.Answer) + len(e.About) + len(e.Fingerprint) + len(e.Owner) + len(e.ID))
}

// expiries is a heap: the record that expires first is first.
type expiries []*entry

// Len implements heap.Interface, as do the following.
func (x expiries) Len() int { return len(x) }

func (x expiries) Less(i, j int) bool { return x[i].Expires.Before(x[j].Expires) }

func (x expiries) Swap(i, j int) {
	x[i], x[j] = x[j], x[i]
	x[i].place, x[j].place = i, j
}

// Push implements heap.Interface.
func (x *expiries) Push(v any) {
	e := v.(*entry)
	e.place = len(*x)
	*x = append(*x, e)
}

// Pop implements heap.Interface.
func (x *expiries) Pop() any {
	last := len(*x) - 1
	e := (*x)[last]
	(*x)[last] = nil
	*x = (*x)[:last]
	return e
}

// figuresOfRecords tells how full the table is when it is asked.
type figuresOfRecords struct{ records, bytes *prometheus.Desc }

var recordFigures = sync.OnceValue(func() *figuresOfRecords {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(meter.Namespace, "idempotency", name), help, nil, nil)
	}
	return &figuresOfRecords{
		records: desc("memory_records", "Idempotency records in memory, those that have just expired included."),
		bytes:   desc("memory_bytes", "About how many bytes idempotency records take in memory."),
	}
})

// Describe implements prometheus.Collector.
func (f *figuresOfRecords) Describe(out chan<- *prometheus.Desc) {
	out <- f.records
	out <- f.bytes
}

// Collect implements prometheus.Collector.
func (f *figuresOfRecords) Collect(out chan<- prometheus.Metric) {
	recordTables.Range(func(_, value any) bool {
		t, ok := value.(*recordTable)
		if !ok {
			return true
		}
		t.mu.Lock()
		records, size := len(t.records), t.size
		t.mu.Unlock()
		out <- prometheus.MustNewConstMetric(f.records, prometheus.GaugeValue, float64(records))
		out <- prometheus.MustNewConstMetric(f.bytes, prometheus.GaugeValue, float64(size))
		return true
	})
}
