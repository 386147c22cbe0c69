// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/logship/spool"
)

// retireTimeout is how long a config that ends waits for a batch that its sink is sending. The batch is then cut off, and sent
// again by the sink that follows.
const retireTimeout = 2 * time.Second

// readPause is how long a shipper waits when the disk fails.
const readPause = time.Second

// target is a sink of one config, with that config's settings.
type target struct {
	sink     Sink
	settings settings

	retired context.Context // ends when sending must
	cut     context.CancelFunc
	use     sync.WaitGroup // the sends that run
}

func newTarget(sink Sink, s settings) *target {
	t := &target{sink: sink, settings: s}
	t.retired, t.cut = context.WithCancel(context.Background())
	return t
}

// retire waits until nothing is sent through the target, for a while, and cuts it off then. No send begins any more: the
// shipper has another target, or has ended.
func (t *target) retire() {
	defer t.cut()
	idle := make(chan struct{})
	go func() {
		t.use.Wait()
		close(idle)
	}()
	timer := time.NewTimer(retireTimeout)
	defer timer.Stop()
	select {
	case <-idle:
		return
	case <-timer.C:
	}
	t.cut()
	<-idle // sinks return promptly
}

// shipper takes lines from the spool to one sink, in their order, one batch at a time.
type shipper struct {
	core   *core
	name   string
	cursor *spool.Cursor
	meter  prometheus.Observer

	work, hard       context.Context // ends when no batch is to be begun, ends when all is to end
	stopWork, cutOff context.CancelFunc
	done             chan struct{}
	lines            []Line        // of the batch that is being sent
	aimed            chan struct{} // of capacity 1: there is a new target

	sending sync.Mutex // held while a batch is sent: batches and replays take turns

	mu     sync.Mutex // guards what follows
	target *target
	dead   *deadLetters
	state  sinkState
}

// sinkState is how a sink does.
type sinkState struct {
	up       bool
	known    bool // up has a meaning: something was sent
	since    time.Time
	failures uint64 // since it was up
	lastErr  error
	retryAt  time.Time
	batches  uint64
	lost     uint64 // dead letters for which there was no room
}

func newShipper(c *core, name string, cursor *spool.Cursor, t *target) *shipper {
	sh := &shipper{core: c, name: name, cursor: cursor, done: make(chan struct{}), aimed: make(chan struct{}, 1)}
	sh.meter = metrics().batchSeconds.WithLabelValues(c.dir, name)
	sh.work, sh.stopWork = context.WithCancel(context.Background())
	sh.hard, sh.cutOff = context.WithCancel(context.Background())
	sh.aim(t)
	return sh
}

// aim has the shipper use a target from its next batch, or its next try, on.
func (sh *shipper) aim(t *target) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.target == t {
		return
	}
	sh.target = t
	sh.dead = newDeadLetters(t.settings.dead, sh.name, t.settings.deadSize)
	select {
	case sh.aimed <- struct{}{}:
	default:
	}
}

// use returns the target for one send, after which the caller calls its use.Done.
func (sh *shipper) use() *target {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.target.use.Add(1)
	return sh.target
}

func (sh *shipper) settings() settings {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.target.settings
}

func (sh *shipper) start() { go sh.run() }

// end delivers what it can in that time and ends the shipper.
func (sh *shipper) end(flush time.Duration) {
	sh.stopWork()
	timer := time.AfterFunc(flush, sh.cutOff)
	<-sh.done
	timer.Stop()
	sh.cutOff()
}

func (sh *shipper) run() {
	defer close(sh.done)
	for failing := false; sh.work.Err() == nil; {
		s := sh.settings()
		if sh.cursor.Wait(sh.work, uint64(s.lines), uint64(s.bytes), s.age) != nil {
			break
		}
		err := sh.step()
		if err != nil && sh.work.Err() == nil {
			if !failing {
				sh.complain(err)
			}
			sh.pause(readPause)
		}
		failing = err != nil
	}
	for sh.hard.Err() == nil && sh.cursor.Progress().Pending > 0 {
		if sh.step() != nil {
			break
		}
	}
}

// release lets segments go that the sink has not had. It comes after the end, and where the backlog is to stay for the next
// config or process, after the spool was closed: the sinks that have had them would let them go at once.
func (sh *shipper) release() {
	if err := sh.cursor.Release(); err != nil {
		logger().Warn("closing a segment", zap.String("spool", sh.core.dir), zap.Error(err))
	}
}

func (sh *shipper) complain(err error) {
	logger().Error("shipping is held up by the disk", zap.String("spool", sh.core.dir), zap.String("sink", sh.name), zap.Error(err))
}

// step ships one batch. It returns when all of its lines are dealt with, or with an error: the next step ships them again.
func (sh *shipper) step() error {
	s := sh.settings()
	chunk, err := sh.cursor.Read(s.lines, s.bytes)
	if err != nil || chunk == nil {
		return err
	}
	if err := sh.ship(s.node, chunk); err != nil {
		sh.cursor.Rewind()
		return err
	}
	return nil
}

func (sh *shipper) ship(node string, chunk *spool.Chunk) error {
	if ok, err := sh.cursor.Hold(chunk); err != nil || !ok {
		return err
	}
	var got outcome
	if len(chunk.Lines) > 0 {
		var err error
		if got, err = sh.deliver(sh.batch(node, chunk)); err != nil {
			return err
		}
	}
	dead, err := sh.bury(got)
	for complained := false; err != nil; dead, err = sh.bury(got) { // what was delivered is not to be sent again for this
		if !complained {
			sh.complain(err)
			complained = true
		}
		if !sh.pause(readPause) {
			return err
		}
	}
	return sh.cursor.Commit(chunk, got.delivered, dead)
}

// batch is valid until it is called again.
func (sh *shipper) batch(node string, chunk *spool.Chunk) *Batch {
	sh.lines = sh.lines[:0]
	for _, line := range chunk.Lines {
		sh.lines = append(sh.lines, Line(line))
	}
	return &Batch{Node: node, Epoch: chunk.Epoch, Lines: sh.lines}
}

// bury keeps refused lines, and returns how many it could keep.
func (sh *shipper) bury(got outcome) (uint64, error) {
	if len(got.refused) == 0 {
		return 0, nil
	}
	sh.mu.Lock()
	dead := sh.dead
	sh.mu.Unlock()
	err := dead.keep(got)
	if errors.Is(err, errDeadFull) {
		sh.mu.Lock()
		sh.state.lost += uint64(len(got.refused))
		sh.mu.Unlock()
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("keeping dead letters: %w", err)
	}
	return uint64(len(got.refused)), nil
}

// send tries once.
func (sh *shipper) send(batch *Batch) (err error) {
	sh.sending.Lock()
	defer sh.sending.Unlock()
	t := sh.use()
	defer t.use.Done()
	ctx, cancel := context.WithTimeout(sh.hard, t.settings.timeout)
	defer cancel()
	defer context.AfterFunc(t.retired, cancel)()
	defer func() {
		if fault := recover(); fault != nil { // a sink may be a stranger's; requests go on
			err = fmt.Errorf("the sink panicked: %v", fault)
		}
	}()
	begun := time.Now()
	err = t.sink.Send(ctx, batch)
	sh.meter.Observe(time.Since(begun).Seconds())
	return err
}

// note keeps what became of a try, and logs when the sink goes away or comes back.
func (sh *shipper) note(err error, pause time.Duration) {
	sh.mu.Lock()
	st := &sh.state
	before, known := st.up, st.known
	st.known, st.up = true, err == nil
	if !known || before != st.up {
		st.since = time.Now()
	}
	if err == nil {
		st.failures, st.retryAt = 0, time.Time{}
		st.batches++
	} else {
		st.failures++
		st.lastErr, st.retryAt = err, time.Now().Add(pause)
	}
	sh.mu.Unlock()
	fields := []zap.Field{zap.String("spool", sh.core.dir), zap.String("sink", sh.name)}
	switch {
	case err == nil && known && !before:
		logger().Info("the log sink is back", fields...)
	case err != nil && (before || !known):
		logger().Warn("the log sink does not take lines; they wait on the disk", append(fields, zap.Error(err))...)
	}
}
