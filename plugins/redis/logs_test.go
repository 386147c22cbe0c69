// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/logship"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/logshiptest"
	"github.com/gatehouse-proxy/gatehouse/plugins/redis"
)

// runClient runs a config with a client, so that a sink finds it.
func runClient(t testing.TB, address string) {
	t.Helper()
	gatehousetest.Start(t, fmt.Sprintf("{\n redis redis://%s/0\n}\n:8080 {\n respond ok\n}", address))
}

// stream reads the lines of a stream from the server itself.
func stream(t testing.TB, address, key string) ([]string, error) {
	direct := goredis.NewClient(&goredis.Options{Addr: address})
	defer direct.Close()
	entries, err := direct.XRange(t.Context(), key, "-", "+").Result()
	lines := make([]string, len(entries))
	for i, entry := range entries {
		lines[i], _ = entry.Values["line"].(string)
	}
	return lines, err
}

func TestLogSinkConformance(t *testing.T) {
	logshiptest.Run(t, func(t *testing.T) *logshiptest.Subject {
		server := gatehousetest.StartRedis(t)
		relay := logshiptest.NewRelay(t, server.Address)
		runClient(t, relay.Address)
		return &logshiptest.Subject{
			Sink: &redis.LogSink{}, Break: relay.Break, Stall: relay.Stall, Mend: relay.Mend, Dedupes: true,
			Received: func() ([]string, error) { return stream(t, server.Address, "gatehouse:1:logs:test-node.1") },
		}
	})
}

func logSubject(t *testing.T, s *redis.LogSink) (*logshiptest.Subject, *gatehousetest.Redis) {
	server := gatehousetest.StartRedis(t)
	runClient(t, server.Address)
	return &logshiptest.Subject{Sink: s}, server
}

func TestLogSinkEntries(t *testing.T) {
	s, server := logSubject(t, &redis.LogSink{})
	s.Send(t, logshiptest.Batch(1, logshiptest.Access(3)...))
	direct := goredis.NewClient(&goredis.Options{Addr: server.Address})
	defer direct.Close()
	entries, err := direct.XRange(t.Context(), "gatehouse:1:logs:test-node.1", "-", "+").Result()
	if err != nil || len(entries) != 3 || entries[0].ID != "1700000000000-1" || entries[2].ID != "1700000000000-3" {
		t.Fatalf("the stream has %v, %v", entries, err)
	}
}

func TestLogSinkMaxLen(t *testing.T) {
	s, server := logSubject(t, &redis.LogSink{MaxLen: 1000})
	for first := uint64(1); first < 5000; first += 500 {
		s.Send(t, logshiptest.Batch(first, logshiptest.Access(500)...))
	}
	lines, err := stream(t, server.Address, "gatehouse:1:logs:test-node.1")
	if err != nil || len(lines) < 1000 || len(lines) > 1500 {
		t.Fatalf("the stream has %d lines, want about 1000 (%v)", len(lines), err)
	}
}

// Two proxies in one stream: none of their lines is taken for a duplicate of the other's.
func TestLogSinkSharedStream(t *testing.T) {
	s, server := logSubject(t, &redis.LogSink{Stream: "all"})
	for first := uint64(1); first < 100; first += 10 {
		for node, epoch := range map[string]uint64{"a": 2000, "b": 1000} {
			batch := logshiptest.Batch(first, logshiptest.Access(10)...)
			batch.Node, batch.Epoch = node, epoch
			s.Send(t, batch)
		}
	}
	lines, err := stream(t, server.Address, "gatehouse:1:logs:all")
	if err != nil {
		t.Fatal(err)
	}
	var v logship.Verifier
	for _, line := range lines {
		if err := v.Add([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if r := v.Report(); r.Lines != 200 || r.Missing+r.Duplicates+r.Unreadable > 0 {
		t.Errorf("the stream has %+v", r)
	}
}

// idempotent does what Redis 8.6 is documented to do, on an older server: XADD with IDMP gives the ID that a producer's message got
// the first time, for as many messages as XCFGSET says, 100 if it says nothing; XCFGSET forgets those, and XINFO tells of it.
const idempotent = `
local real = redis
local redis = setmetatable({REDIS_VERSION_NUM = 0x00080600}, {__index = real})
local function run(call, ...)
	local args = {...}
	local known, kept = args[2] .. ':known', args[2] .. ':kept'
	if args[1] == 'XCFGSET' then
		if real.call('EXISTS', args[2]) == 0 then
			return {err = 'ERR no such key'}
		end
		real.call('DEL', known, kept)
		real.call('SET', args[2] .. ':size', args[6])
		real.call('INCR', args[2] .. ':configured')
		return {ok = 'OK'}
	end
	if args[1] == 'XINFO' then
		local info, size = real.call(...), real.call('GET', args[3] .. ':size')
		if size then
			table.insert(info, 'idmp-maxsize')
			table.insert(info, tonumber(size))
		end
		return info
	end
	if args[1] ~= 'XADD' or args[3] ~= 'IDMP' then
		return call(...)
	end
	if args[6] ~= '*' then
		return {err = 'ERR IDMP/IDMPAUTO can be used only with auto-generated IDs'}
	end
	local id = real.call('HGET', known, args[4] .. ' ' .. args[5])
	if not id then
		id = real.call('XADD', args[2], '*', unpack(args, 7))
		real.call('HSET', known, args[4] .. ' ' .. args[5], id)
		real.call('RPUSH', kept, args[4] .. ' ' .. args[5])
		if real.call('LLEN', kept) > tonumber(real.call('GET', args[2] .. ':size') or 100) then
			real.call('HDEL', known, real.call('LPOP', kept))
		end
	end
	return id
end
redis.call = function(...) return run(real.call, ...) end
redis.pcall = function(...) return run(real.pcall, ...) end
`

// claims has an older server taken for one that has XADD with IDMP.
const claims = "local redis = setmetatable({REDIS_VERSION_NUM = 0x00080600}, {__index = redis})\n"

// A batch that is sent again to a stream that is past its lines.
func TestLogSinkKnowsLinesAgain(t *testing.T) {
	source, err := os.ReadFile("logs_add.lua")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		prelude    string
		duplicates uint64
	}{
		"8.6":             {idempotent, 0},
		"as it is":        {"", 300},
		"refuses in part": {claims, 300},
	} {
		t.Run(name, func(t *testing.T) {
			server := gatehousetest.StartRedis(t)
			direct := goredis.NewClient(&goredis.Options{Addr: server.Address})
			defer direct.Close()
			send := func(node string, epoch uint64) {
				batch := logshiptest.Batch(1, logshiptest.Access(300)...)
				batch.Node, batch.Epoch = node, epoch
				args := []any{0, epoch, node}
				for i := range batch.Lines {
					args = append(args, batch.Lines[i].Seq, batch.AppendJSON(nil, i))
				}
				if err := direct.Eval(t.Context(), test.prelude+string(source), []string{"all"}, args...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			send("b", 2000)
			for range 2 {
				send("a", 1000)
				send("b", 2000)
			}
			got, err := stream(t, server.Address, "all")
			if err != nil {
				t.Fatal(err)
			}
			var v logship.Verifier
			for _, line := range got {
				if err := v.Add([]byte(line)); err != nil {
					t.Fatal(err)
				}
			}
			if r := v.Report(); r.Lines != 600+test.duplicates || r.Missing > 0 || r.Duplicates != test.duplicates {
				t.Errorf("the stream has %+v, want 600 lines and %d of them twice", r, test.duplicates)
			}
			if n, err := direct.Get(t.Context(), "all:configured").Int(); test.prelude == idempotent && n != 1 {
				t.Errorf("the stream was configured %d times, %v", n, err)
			}
		})
	}
}

func TestLogSinkWithoutClient(t *testing.T) {
	gatehousetest.Start(t, ":8080 {\n respond ok\n}")
	if err := (&redis.LogSink{}).Send(t.Context(), logshiptest.Batch(1, "{}")); err == nil {
		t.Fatal("lines were sent to nowhere")
	}
	if err := (&redis.LogSink{MaxLen: -2}).Provision(gatehousetest.Context(t)); err == nil {
		t.Fatal("a negative limit was accepted")
	}
}

// A Redis that is killed, with what it had on its disk, and started again.
func TestLogSinkOverARestart(t *testing.T) {
	server := gatehousetest.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	dir := filepath.Join(t.TempDir(), "spool")
	s := gatehousetest.Start(t, fmt.Sprintf("{\n redis %s\n}\n:8080 {\n log {\n output ship %s {\n sink redis\n node n\n batch 50 1MiB 5ms\n retry 1ms 20ms\n }\n }\n respond ok\n}",
		server.URL(), dir))
	for i := range 300 {
		if i == 100 {
			server.Kill()
		}
		if i == 200 {
			server.Start()
		}
		s.Get(fmt.Sprintf("/%d", i))
	}
	var report logship.Report
	for deadline := time.Now().Add(20 * time.Second); report.Lines < 300 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		lines, err := stream(t, server.Address, "gatehouse:1:logs:n")
		if err != nil {
			continue
		}
		var v logship.Verifier
		for _, line := range lines {
			if err := v.Add([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
		report = v.Report()
	}
	if report.Lines != 300 || report.Missing+report.Duplicates > 0 {
		t.Errorf("the stream has %+v", report)
	}
}

func BenchmarkLogSink(b *testing.B) {
	server := gatehousetest.StartRedis(b)
	runClient(b, server.Address)
	s := &redis.LogSink{MaxLen: 100_000}
	batch := logshiptest.Batch(1, logshiptest.Access(5000)...)
	for b.Loop() {
		if err := s.Send(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		for i := range batch.Lines {
			batch.Lines[i].Seq += 5000
		}
	}
	b.ReportMetric(float64(b.N)*5000/b.Elapsed().Seconds(), "lines/s")
}
