// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/logship/spool"
)

const (
	// maxHeld bounds the memory of lines that wait for a spool that cannot be opened, in bytes.
	maxHeld = 4 << 20
	// heldCost is what such a line takes besides its bytes, about: its place in a slice that grows, and its allocation.
	heldCost = 128
	// reopen is how often such a spool is tried again.
	reopen = 100 * time.Millisecond
)

// errUnused says that the config which wanted the spool was rejected.
var errUnused = errors.New("no config uses it")

// cores are the spools in use with their shippers, by directory. One is shared by the configs that overlap in a reload.
var cores = caddy.NewUsagePool()

// core is one spool and what ships from it. It outlives configs, whose options and sinks are attached to it.
type core struct {
	dir    string
	handle *handle
	spool  atomic.Pointer[spool.Spool] // nil until it could be opened

	mu          sync.Mutex // guards what follows
	attachments []*attachment
	shippers    map[string]*shipper
	tried       bool // to open the spool
	trying      bool // keepOpening runs
	openErr     error
	found       spool.Found
	held        []heldLine
	heldBytes   int
	heldDropped uint64

	stop    chan struct{}
	running sync.WaitGroup
}

// heldLine waits for the spool.
type heldLine struct {
	at   time.Time
	line []byte
}

// attachment is what one writer of one config wants of a core.
type attachment struct {
	settings    settings
	targets     map[string]*target
	names       []string // of the targets, in the config's order
	fingerprint string
	registry    *prometheus.Registry // tells configs apart: each has its own
	gone        bool                 // the config has ended; guarded by the core's lock
}

func newAttachment(s settings, sinks []*SinkConfig, fingerprint string, registry *prometheus.Registry) *attachment {
	a := &attachment{settings: s, targets: map[string]*target{}, fingerprint: fingerprint, registry: registry}
	for _, sink := range sinks {
		a.targets[sink.Name] = newTarget(sink.sink, s)
		a.names = append(a.names, sink.Name)
	}
	return a
}

func newCore(dir string) *core {
	return &core{dir: dir, handle: handleFor(dir), shippers: map[string]*shipper{}, stop: make(chan struct{})}
}

// attach has a config's options and sinks take over from those of the config before, which may come back if this one is
// rejected.
func (c *core) attach(a *attachment) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attachments = slices.DeleteFunc(c.attachments, func(other *attachment) bool { return other.gone })
	for _, other := range c.attachments {
		if other.registry == a.registry && other.fingerprint != a.fingerprint {
			return fmt.Errorf("the spool %s is used twice, with differing options", c.dir)
		}
	}
	c.attachments = append(c.attachments, a)
	first := c.handle.core.Swap(c) != c
	c.openErr = c.apply()
	if (first || c.openErr != nil) && !c.trying {
		c.trying = true
		c.running.Go(c.keepOpening)
	}
	return nil
}

// detach takes a config's options and sinks away, and waits until none of its sinks is in use.
func (c *core) detach(a *attachment) {
	c.mu.Lock()
	a.gone = true
	last := len(c.attachments) == 1
	if !last { // the last one's sinks still deliver what they can, in Destruct
		c.attachments = slices.DeleteFunc(c.attachments, func(other *attachment) bool { return other == a })
		c.openErr = c.apply()
	}
	c.mu.Unlock()
	if last {
		return
	}
	for _, t := range a.targets {
		t.retire()
	}
}

// apply has the spool and the shippers do as the attachments say: the newest one counts, and an older one for sinks that only
// it has. Its error is of a sink whose place in the spool cannot be told; the others ship. It is called with the lock held.
func (c *core) apply() error {
	s := c.spool.Load()
	if s == nil {
		return c.openErr
	}
	var failed error
	newest := c.attachments[len(c.attachments)-1]
	s.Configure(newest.settings.spool)
	wanted := c.targets()
	for name, t := range wanted {
		if old, ok := c.shippers[name]; ok {
			old.aim(t)
			continue
		}
		cursor, err := s.Cursor(name)
		if err != nil {
			failed = fmt.Errorf("sink %q: %w", name, err)
			continue
		}
		sh := newShipper(c, name, cursor, t)
		c.shippers[name] = sh
		sh.start()
	}
	for name, sh := range c.shippers {
		if wanted[name] == nil {
			delete(c.shippers, name)
			sh.end(0)
			sh.release()
		}
	}
	return failed
}

// targets are the sinks of all attachments; of two with one name the newer.
func (c *core) targets() map[string]*target {
	wanted := map[string]*target{}
	for _, a := range c.attachments {
		for name, t := range a.targets {
			wanted[name] = t
		}
	}
	return wanted
}

// open opens the spool and stores the lines that waited for it. It is called with the lock held.
func (c *core) open() error {
	var names []string
	for name := range c.targets() {
		names = append(names, name)
	}
	s, found, err := spool.Open(c.dir, c.attachments[len(c.attachments)-1].settings.spool, names...)
	if err != nil {
		return err
	}
	c.found = found
	for _, h := range c.held {
		_ = s.AppendAt(h.line, h.at) // what the spool drops it counts
	}
	s.Skip(c.heldDropped)
	c.held, c.heldBytes, c.heldDropped = nil, 0, 0
	c.spool.Store(s)
	return nil
}

// keepOpening opens the spool, for its backlog, if no line comes and does it first; and tries again until it is open with all
// its sinks, or the core ends. A config that is only validated is gone before, and leaves no trace.
func (c *core) keepOpening() {
	ticker := time.NewTicker(reopen)
	defer ticker.Stop()
	for complained := false; ; {
		select {
		case <-c.stop:
			return
		case <-ticker.C:
		}
		c.mu.Lock()
		err := c.tryOpen()
		c.trying = err != nil
		c.mu.Unlock()
		if err == nil {
			break
		}
		if !complained {
			logger().Error("the spool cannot be opened, or not for each sink; lines wait", zap.String("spool", c.dir), zap.Error(err))
			complained = true
		}
	}
}

// tryOpen opens the spool and starts the shippers, unless that was done. It is called with the lock held.
func (c *core) tryOpen() error {
	switch {
	case c.ended():
		return errUnused
	case c.spool.Load() == nil:
		c.tried = true
		if c.openErr = c.open(); c.openErr != nil {
			return c.openErr
		}
	case c.openErr == nil:
		return nil
	}
	c.openErr = c.apply()
	return c.openErr
}

// opened opens the spool if need be; its error is why that cannot be done.
func (c *core) opened() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.attachments) == 0 {
		return errUnused
	}
	if err := c.tryOpen(); c.spool.Load() == nil {
		return err
	}
	return nil
}

// ended reports whether close has begun.
func (c *core) ended() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// logger is for what operators must know. It may itself be shipped here, so only changes of state are logged, never lines or
// batches; and it is looked up each time, as it belongs to a config.
func logger() *zap.Logger { return caddy.Log().Named("logship") }

// write takes a line, unless the core has ended.
func (c *core) write(line []byte) bool {
	if s := c.spool.Load(); s != nil {
		return !errors.Is(s.Append(line), spool.ErrClosed)
	}
	return c.hold(line)
}

// hold keeps a line in memory until the spool is open. Beyond the limit it is dropped, and counted.
func (c *core) hold(line []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended() {
		return false
	}
	if !c.tried || c.spool.Load() != nil { // the first line opens the spool; the next may find it open
		_ = c.tryOpen() // status tells
		if s := c.spool.Load(); s != nil {
			return !errors.Is(s.Append(line), spool.ErrClosed)
		}
	}
	if c.heldBytes+len(line)+heldCost > maxHeld {
		c.heldDropped++
		return true
	}
	c.held = append(c.held, heldLine{time.Now(), slices.Clone(line)})
	c.heldBytes += len(line) + heldCost
	return true
}

// Destruct implements caddy.Destructor: no config uses the spool any more. The last lines are delivered if that can be done
// in the time that the options give; the others stay on the disk.
func (c *core) Destruct() error {
	c.mu.Lock()
	if len(c.attachments) == 0 {
		c.mu.Unlock()
		return nil // attach refused the only config
	}
	last := c.attachments[len(c.attachments)-1]
	shippers := c.shippers
	c.shippers = map[string]*shipper{}
	c.mu.Unlock()

	var ending sync.WaitGroup
	for _, sh := range shippers {
		ending.Go(func() { sh.end(last.settings.flush) })
	}
	ending.Wait()
	for _, t := range last.targets {
		t.retire()
	}
	err := c.close()
	for _, sh := range shippers {
		sh.release()
	}
	return err
}

// close lets the spool go, and has the lines that still come opened for.
func (c *core) close() error {
	c.handle.mu.Lock()
	defer c.handle.mu.Unlock()
	c.handle.core.CompareAndSwap(c, nil)
	c.mu.Lock()
	close(c.stop)
	if len(c.held) > 0 { // a last try; the next process ships them
		c.openErr = c.open()
	}
	lost := uint64(len(c.held)) + c.heldDropped
	c.held = nil
	c.mu.Unlock()
	c.running.Wait()
	s := c.spool.Load()
	if s == nil {
		if lost > 0 {
			logger().Error("lines are lost, as the spool could not be opened", zap.String("spool", c.dir), zap.Uint64("lines", lost),
				zap.Error(c.openErr))
		}
		return nil
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("closing the spool %s: %w", c.dir, err)
	}
	return nil
}
