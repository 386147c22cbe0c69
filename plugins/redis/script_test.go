// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func TestRun(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	s := NewScript("return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}")
	for want := int64(1); want < 3; want++ {
		cmd, err := c.Run(t.Context(), s, []string{"n"}, "arg")
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := cmd.Slice(); len(got) != 3 || got[0] != "n" || got[1] != "arg" || got[2] != want {
			t.Fatalf("answers %v", got)
		}
	}
	if _, err := c.Run(t.Context(), NewScript("return redis.error_reply('ERR no')"), nil); !goredis.HasErrorPrefix(err, "no") {
		t.Fatalf("got %v", err)
	}
	if _, err := c.Run(t.Context(), NewScript("return nil"), nil); !errors.Is(err, goredis.Nil) {
		t.Fatalf("got %v", err)
	}
}

// A flush of the script cache, which an operator may do any time, must not reach a client, nor count twice.
func TestScriptFlushUnderLoad(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	c := open(t, at(server.Address))
	s := NewScript("return redis.call('INCR', KEYS[1])")
	var over atomic.Bool
	var runs, flushes atomic.Int64
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for !over.Load() {
				if _, err := c.Run(t.Context(), s, []string{"n"}); err != nil {
					t.Errorf("got %v", err)
					return
				}
				runs.Add(1)
			}
		})
	}
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); flushes.Add(1) {
		if answer, err := server.Command("SCRIPT FLUSH"); err != nil || answer != "+OK" {
			t.Fatalf("SCRIPT FLUSH answers %q, %v", answer, err)
		}
	}
	over.Store(true)
	group.Wait()
	cmd, err := c.Do(t.Context(), "GET", "n")
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := cmd.Int64(); n != runs.Load() {
		t.Errorf("%d runs counted %d times", runs.Load(), n)
	}
	t.Logf("%d runs over %d flushes", runs.Load(), flushes.Load())
}

// The control: the driver's pipeline hands the error out.
func TestScriptFlushReachesTheDriversPipeline(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	plain := goredis.NewClient(&goredis.Options{Addr: server.Address})
	defer plain.Close()
	s := NewScript("return 1")
	_, err := plain.Pipelined(t.Context(), func(p goredis.Pipeliner) error {
		p.EvalSha(t.Context(), s.sha, nil)
		return nil
	})
	if !goredis.HasErrorPrefix(err, "NOSCRIPT") {
		t.Fatalf("got %v", err)
	}
}
