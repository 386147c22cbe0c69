// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit"
	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

// limited is a site with a policy whose counts are in Redis, which a global option tells.
func limited(redis, options string) string {
	return fmt.Sprintf("{\n\t%s\n\tmetrics\n}\n:8080 {\n\tmetrics /metrics\n\t@rest not path /metrics\n\trequest_limit @rest %s {\n\t\tkey {header.X-Key}\n\t\t%s\n\t}\n\trespond @rest ok\n}\n",
		redis, "outage", options)
}

// visits is what visitors saw: when each was answered, how long that took, and with what.
type visits struct {
	mu   sync.Mutex
	list []visit
}

type visit struct {
	at     time.Time
	took   time.Duration
	status int // 0 is a request that failed
}

// visitors keep requesting the site until stop is called.
func visitors(t *testing.T, s *gatehousetest.Server, n int, key string) (v *visits, stop func()) {
	t.Helper()
	v = &visits{}
	var over atomic.Bool
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			for !over.Load() {
				begun := time.Now()
				resp, err := s.Try(http.MethodGet, s.URL(":8080"), "", "X-Key: "+key)
				one := visit{at: begun, took: time.Since(begun)}
				if err == nil {
					one.status = resp.StatusCode
				}
				v.mu.Lock()
				v.list = append(v.list, one)
				v.mu.Unlock()
				time.Sleep(2 * time.Millisecond) // else the machine, not the proxy, is what is measured
			}
		})
	}
	return v, sync.OnceFunc(func() { over.Store(true); group.Wait() })
}

// between returns the visits that began within a time.
func (v *visits) between(from, to time.Time) (list []visit) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, one := range v.list {
		if !one.at.Before(from) && one.at.Before(to) {
			list = append(list, one)
		}
	}
	return list
}

// percentile is a quantile of how long visits took.
func percentile(list []visit, q float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	took := make([]time.Duration, len(list))
	for i, one := range list {
		took[i] = one.took
	}
	slices.Sort(took)
	return took[min(int(q*float64(len(took))), len(took)-1)]
}

// bad counts the visits that failed, or got an error of the server.
func bad(list []visit) (n int) {
	for _, one := range list {
		if one.status == 0 || one.status >= 500 {
			n++
		}
	}
	return n
}

// decided is how many requests a mode decided on.
func decided(s *gatehousetest.Server, mode string) (total int) {
	for line := range strings.Lines(s.Get("/metrics").Body) {
		if strings.HasPrefix(line, "gatehouse_request_limit_requests_total{") && strings.Contains(line, `mode="`+mode+`"`) {
			var n float64
			_, _ = fmt.Sscan(line[strings.LastIndex(line, " "):], &n)
			total += int(n)
		}
	}
	return total
}

// TestStallUnderLoad stops Redis under load: nobody gets a 5xx, and after the first moments nobody waits. How long is logged, and
// fails the test where figures are measured.
func TestStallUnderLoad(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	s := gatehousetest.Start(t, limited("redis "+server.URL(), "window 1000000 1h"))
	attempts(t, func() error {
		v, stop := visitors(t, s, 8, "load")
		defer stop()
		time.Sleep(1500 * time.Millisecond)
		stalled := time.Now()
		server.Pause()
		time.Sleep(2 * time.Second)
		local := decided(s, "local")
		resumed := time.Now()
		server.Resume()
		back := eventually(t, "Redis counts again", func() bool {
			before := decided(s, "store")
			_, _ = s.Try(http.MethodGet, s.URL(":8080"), "", "X-Key: probe")
			return decided(s, "store") > before
		})
		time.Sleep(300 * time.Millisecond)
		stop()
		healthy := v.between(stalled.Add(-time.Second), stalled.Add(-300*time.Millisecond))
		first := v.between(stalled.Add(-300*time.Millisecond), stalled.Add(300*time.Millisecond))
		later := v.between(stalled.Add(300*time.Millisecond), resumed)
		added := percentile(later, .99) - percentile(healthy, .99)
		t.Logf("p50/p99 healthy %v/%v (%d requests), after the first 300 ms of the stall %v/%v (%d), worst of the first moments %v; "+
			"%d decided here; Redis counted again %v after it went on", percentile(healthy, .5), percentile(healthy, .99), len(healthy),
			percentile(later, .5), percentile(later, .99), len(later), percentile(first, 1), local, back)
		v.mu.Lock()
		failed := bad(v.list)
		v.mu.Unlock()
		switch {
		case failed > 0:
			t.Fatalf("%d requests failed or got a 5xx", failed) // never the machine's fault
		case local == 0 || len(healthy) == 0 || len(later) == 0:
			return fmt.Errorf("nothing was measured: %d healthy, %d later, %d local", len(healthy), len(later), local)
		case !figuresCount():
			return nil
		case len(healthy) < 100 || len(later) < 100:
			return fmt.Errorf("not enough was measured: %d healthy, %d later", len(healthy), len(later))
		case added > time.Millisecond:
			return fmt.Errorf("p99 rose by %v after the first 300 ms", added)
		case back > time.Second:
			return fmt.Errorf("Redis counted again only %v after it went on", back)
		}
		return nil
	})
}

// TestStoreErrorModes kills Redis and looks at what each mode answers.
func TestStoreErrorModes(t *testing.T) {
	for mode, want := range map[string]string{
		"local":  "200 200 200 429 429",
		"open":   "200 200 200 200 200",
		"closed": "503 503 503 503 503",
	} {
		t.Run(mode, func(t *testing.T) {
			server := gatehousetest.StartRedis(t)
			s := gatehousetest.Start(t, limited(option(server.URL()), "window 3 1h\n\t\ton_store_error "+mode))
			if got := s.Get("/", "X-Key: a").StatusCode; got != 200 {
				t.Fatalf("while Redis is well: %d", got)
			}
			server.Kill()
			eventually(t, "the breaker opens", func() bool { s.Get("/", "X-Key: b"); return decided(s, mode) > 0 })
			var list []string
			for range 5 {
				resp := s.Get("/", "X-Key: c")
				list = append(list, fmt.Sprint(resp.StatusCode))
				if resp.StatusCode >= 400 && (resp.Header.Get("Retry-After") == "" || !strings.Contains(resp.Header.Get("Content-Type"), "problem+json")) {
					t.Errorf("%s: %v", resp.Status, resp.Header)
				}
			}
			if got := strings.Join(list, " "); got != want {
				t.Errorf("while Redis is away: %s, want %s", got, want)
			}
			server.Start()
			eventually(t, "Redis counts again", func() bool {
				before := decided(s, "store")
				s.Get("/", "X-Key: d")
				return decided(s, "store") > before
			})
		})
	}
}

// TestLocalSharesTheLimit holds that each of two proxies has half of the limit while Redis is away.
func TestLocalSharesTheLimit(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	other := pooled(t, at(server.Address))
	h, l, err := takeHub(other)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Release() })
	h.begin()
	s := gatehousetest.Start(t, limited(option(server.URL()), "window 10 1h"))
	s.Get("/", "X-Key: a")
	eventually(t, "both proxies are known", func() bool {
		return strings.Contains(s.Admin(http.MethodGet, "/gatehouse/limits/outage", "").Body, `"proxies":2`)
	})
	server.Kill()
	eventually(t, "the breaker opens", func() bool { s.Get("/", "X-Key: b"); return decided(s, "local") > 0 })
	passed := 0
	for range 20 {
		if s.Get("/", "X-Key: c").StatusCode == 200 {
			passed++
		}
	}
	if passed != 5 {
		t.Errorf("%d passed, want 5: half of the limit", passed)
	}
}

// TestFlushAndRestartUnderLoad empties Redis' scripts, and restarts it, under load: no client gets an error.
func TestFlushAndRestartUnderLoad(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	for name, store := range map[string]string{"atomic": "redis", "lease": "redis {\n mode lease\n}"} {
		t.Run(name, func(t *testing.T) { flushAndRestart(t, server, store) })
	}
}

func flushAndRestart(t *testing.T, server *gatehousetest.Redis, store string) {
	s := gatehousetest.Start(t, limited(option(server.URL()), "window 1000000 1h\n\t\tstore "+store))
	v, stop := visitors(t, s, 16, "load")
	for range 20 {
		if answer, err := server.Command("SCRIPT FLUSH"); err != nil || answer != "+OK" {
			t.Fatalf("SCRIPT FLUSH answers %s, %v", answer, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := decided(s, "local"); n > 0 {
		t.Errorf("%s: %d requests were decided here as scripts were flushed", store, n)
	}
	server.Kill()
	time.Sleep(200 * time.Millisecond)
	server.Start()
	eventually(t, "Redis counts again", func() bool {
		before := decided(s, "store")
		s.Get("/", "X-Key: probe")
		return decided(s, "store") > before
	})
	time.Sleep(200 * time.Millisecond)
	stop()
	if n := bad(v.list); n > 0 || len(v.list) < 20 {
		t.Errorf("%s: %d of %d requests failed or got a 5xx", store, n, len(v.list))
	}
	t.Logf("%s: %d requests over 20 flushes and a restart, %d failed, %d decided here", store, len(v.list), bad(v.list), decided(s, "local"))
}

// TestLimitCluster counts in a real cluster of three, while a slot moves: nothing is refused for where its keys are.
func TestLimitCluster(t *testing.T) {
	cluster := gatehousetest.StartRedisCluster(t)
	c := pooled(t, &ClientConfig{Cluster: cluster.Addresses()[:1], Timeout: 1e10})
	minute := window.Window{Limit: 5, Period: time.Minute}
	hour := window.Window{Limit: 1000, Period: time.Hour}
	rule := window.NewRule(minute, hour)
	for _, algorithm := range []string{reqlimit.Sliding, reqlimit.Exact, reqlimit.Smooth} {
		spec := reqlimit.Spec{Policy: "cluster", Algorithm: algorithm, Windows: 2, Limit: 1000}
		if algorithm == reqlimit.Sliding {
			spec.Buckets = window.DefaultBuckets
		}
		counters, err := limitStore(t, c, limitsAtomic).Open(spec)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 { // over all nodes
			passed := 0
			for range 7 {
				var result window.Result
				if err := counters.Take(t.Context(), &reqlimit.Ask{Key: fmt.Append(nil, i), Rule: &rule, Cost: 1}, &result); err != nil {
					t.Fatal(err)
				}
				if result.Allowed {
					passed++
				}
			}
			if passed != 5 {
				t.Fatalf("%s: %d of 7 passed, want 5", algorithm, passed)
			}
		}
	}
	for _, node := range cluster.Nodes {
		if answer, err := node.Command("DBSIZE"); err != nil || answer == ":0" {
			t.Errorf("%s holds %s keys, %v", node.Address, answer, err)
		}
	}
	moveSlot(t, cluster, c)
}

// moveSlot moves the slot of a key that is in use to another node, as an operator's resharding does, and counts on meanwhile.
func moveSlot(t *testing.T, cluster *gatehousetest.RedisCluster, c *Client) {
	counters, err := limitStore(t, c, limitsAtomic).Open(reqlimit.Spec{Policy: "moving", Algorithm: reqlimit.GCRA, Windows: 1})
	if err != nil {
		t.Fatal(err)
	}
	rule := window.NewRule(window.Window{Limit: 1_000_000, Period: time.Hour, Burst: 1_000_000})
	a := &reqlimit.Ask{Key: []byte("mover"), Rule: &rule, Cost: 1}
	take := func() error { return counters.Take(t.Context(), a, new(window.Result)) }
	first := *a
	first.Cost = 100_000 // the key of a single unit would expire after 4 ms
	if err := counters.Take(t.Context(), &first, new(window.Result)); err != nil {
		t.Fatal(err)
	}
	key := counters.(*limitCounters).keys(a)[0]
	slot := ask(t, c, "CLUSTER", "KEYSLOT", key)
	var from, to *gatehousetest.Redis
	for _, node := range cluster.Nodes {
		if answer, err := node.Command("EXISTS " + key); err == nil && answer == ":1" {
			from = node
		} else {
			to = node
		}
	}
	if from == nil {
		t.Fatal("no node has the key")
	}
	var over atomic.Bool
	var asked atomic.Int64
	failed := make(chan error, 16)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for !over.Load() {
				if err := take(); err != nil {
					failed <- err
					return
				}
				asked.Add(1)
			}
		})
	}
	host, port, _ := strings.Cut(to.Address, ":")
	source, target := nodeID(t, c, from.Address), nodeID(t, c, to.Address)
	for _, step := range []struct {
		node    *gatehousetest.Redis
		command string
	}{
		{to, "CLUSTER SETSLOT " + slot + " IMPORTING " + source},
		{from, "CLUSTER SETSLOT " + slot + " MIGRATING " + target},
		{from, "MIGRATE " + host + " " + port + " " + key + " 0 5000"},
		{to, "CLUSTER SETSLOT " + slot + " NODE " + target},
		{from, "CLUSTER SETSLOT " + slot + " NODE " + target},
	} {
		if answer, err := step.node.Command(step.command); err != nil || answer != "+OK" {
			t.Errorf("%s answers %q, %v", step.command, answer, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	before := asked.Load()
	eventually(t, "it counts on the new node", func() bool { return asked.Load() > before+100 || len(failed) > 0 })
	over.Store(true)
	group.Wait()
	close(failed)
	for err := range failed {
		t.Errorf("while the slot moved: %v", err)
	}
	t.Logf("%d decisions while the slot moved", asked.Load())
}

// TestClockSkew lets two proxies share a limit, one of which lives in the year 2000: what they admit does not change, as
// neither's clock is asked.
func TestClockSkew(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	rule := window.NewRule(window.Window{Limit: 1000, Period: time.Hour})
	for _, algorithm := range []string{reqlimit.Sliding, reqlimit.Exact, reqlimit.Smooth} {
		t.Run(algorithm, func(t *testing.T) {
			spec := reqlimit.Spec{Policy: "skew", Algorithm: algorithm, Windows: 1, Limit: 1000}
			if algorithm == reqlimit.Sliding {
				spec.Buckets = window.DefaultBuckets
			}
			take := func(t *testing.T, c *Client, n int) (passed int) {
				counters, err := newLimitCounters(&hub{client: c}, spec)
				if err != nil {
					t.Fatal(err)
				}
				counters.hub.begun.Store(true)
				for range n {
					var result window.Result
					if err := counters.Take(t.Context(), &reqlimit.Ask{Key: []byte("k"), Rule: &rule, Cost: 1}, &result); err != nil {
						t.Fatal(err)
					}
					if result.Allowed {
						passed++
					}
				}
				return passed
			}
			passed := take(t, open(t, at(server.Address)), 300)
			synctest.Test(t, func(t *testing.T) {
				if year := time.Now().Year(); year != 2000 {
					t.Fatalf("this proxy's clock says %d", year)
				}
				passed += take(t, open(t, at(server.Address)), 500)
			})
			for range 2 { // empties pools of timers that were made in there, and must not be used out here
				runtime.GC()
			}
			passed += take(t, open(t, at(server.Address)), 500)
			if passed != 1000 {
				t.Errorf("%d passed, want 1000", passed)
			}
		})
	}
}
