// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/zapcore"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func TestCluster(t *testing.T) {
	gatehousetest.NoLeaks(t)
	cluster := gatehousetest.StartRedisCluster(t)
	c := open(t, &ClientConfig{Cluster: cluster.Addresses()[:1], Timeout: caddy.Duration(within), Probe: prompt()})
	s := NewScript("redis.call('INCR', KEYS[2]) return redis.call('INCR', KEYS[1])")
	for i := range 60 { // over all nodes
		if got := ask(t, c, "INCR", c.Key("count", fmt.Sprint(i))); got != "1" {
			t.Fatalf("INCR answers %s", got)
		}
		tag := fmt.Sprintf("{%d}", i)
		if _, err := c.Run(t.Context(), s, []string{c.Key("a", tag), c.Key("b", tag)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range cluster.Nodes {
		if answer, err := node.Command("DBSIZE"); err != nil || answer == ":0" {
			t.Errorf("%s holds %s keys, %v", node.Address, answer, err)
		}
	}
	eventually(t, "the prober knows all masters", func() bool { return len(c.Status().Servers) == 3 })

	for i, node := range cluster.Nodes { // any master's stall is the cluster's
		node.Pause()
		took := eventually(t, "the breaker opens", func() bool { return !c.Healthy() })
		node.Resume()
		back := eventually(t, "the breaker closes", c.Healthy)
		atMost(t, fmt.Sprintf("opening the breaker for node %d", i), took, soonOpen)
		atMost(t, "closing it", back, soonClosed)
		ask(t, c, "INCR", "x")
	}
	if text := c.Status().LastError; text == "" {
		t.Error("the last error is not told")
	}
}

func TestClusterMovesSlots(t *testing.T) {
	cluster := gatehousetest.StartRedisCluster(t)
	c := open(t, &ClientConfig{Cluster: cluster.Addresses(), Timeout: caddy.Duration(within), Probe: patient()})
	ask(t, c, "SET", "b", "1") // slot 3300, on the first node
	from, to := cluster.Nodes[0], cluster.Nodes[1]
	id := nodeID(t, c, to.Address)
	if answer, err := from.Command("DEL b"); err != nil || answer != ":1" {
		t.Fatalf("DEL answers %s, %v", answer, err)
	}
	for _, node := range cluster.Nodes {
		if answer, err := node.Command("CLUSTER SETSLOT 3300 NODE " + id); err != nil || answer != "+OK" {
			t.Fatalf("SETSLOT answers %s, %v", answer, err)
		}
	}
	ask(t, c, "SET", "b", "2") // the client is told MOVED and follows
	if answer, err := to.Command("EXISTS b"); err != nil || answer != ":1" {
		t.Fatalf("the key is not on its new node: %s, %v", answer, err)
	}
}

// nodeID asks for the ID of the node at address.
func nodeID(t *testing.T, c *Client, address string) string {
	t.Helper()
	for line := range strings.Lines(ask(t, c, "CLUSTER", "NODES")) {
		fields := strings.Fields(line)
		if strings.HasPrefix(fields[1], address+"@") {
			return fields[0]
		}
	}
	t.Fatalf("no node has the address %s", address)
	return ""
}

func TestSentinel(t *testing.T) {
	gatehousetest.NoLeaks(t)
	master := gatehousetest.StartRedis(t)
	host, port, _ := strings.Cut(master.Address, ":")
	replica := gatehousetest.StartRedis(t, "--replicaof", host, port)
	sentinel := gatehousetest.StartSentinel(t, master)
	sentinel.AwaitReplica(t)
	c := open(t, &ClientConfig{Sentinel: &SentinelConfig{Master: sentinel.Master, Addresses: []string{sentinel.Address}}, Probe: prompt()})
	ask(t, c, "SET", "k", "v")
	if answer, err := master.Command("EXISTS k"); err != nil || answer != ":1" {
		t.Fatalf("the key is not on the master: %s, %v", answer, err)
	}

	master.Pause()
	took := eventually(t, "the breaker opens", func() bool { return !c.Healthy() })
	master.Resume()
	back := eventually(t, "the breaker closes", c.Healthy)
	atMost(t, "opening the breaker", took, soonOpen)
	atMost(t, "closing it", back, soonClosed)
	ask(t, c, "PING")

	master.Kill()
	eventually(t, "the breaker opens", func() bool { return !c.Healthy() })
	eventually(t, "the replica is promoted", func() bool {
		answer, err := replica.Command("SET promoted 1")
		return err == nil && answer == "+OK"
	})
	took = eventually(t, "a write is carried out", func() bool { _, err := c.Do(t.Context(), "SET", "after", "1"); return err == nil })
	atMost(t, "a write after the replica was promoted", took, soonClosed+soonOpen)
}

func TestFactsAreWarnedOf(t *testing.T) {
	master := gatehousetest.StartRedis(t, "--maxmemory-policy", "allkeys-lru")
	host, port, _ := strings.Cut(master.Address, ":")
	replica := gatehousetest.StartRedis(t, "--replicaof", host, port)
	for _, test := range []struct {
		server *gatehousetest.Redis
		warn   string
		facts  Facts
	}{
		{master, "evict", Facts{Address: master.Address, Role: "master", Policy: "allkeys-lru"}},
		{replica, "replica", Facts{Address: replica.Address, Role: "slave", Policy: "noeviction"}},
	} {
		logger, logs := observed()
		c := openLogged(t, at(test.server.Address), logger)
		ask(t, c, "PING")
		eventually(t, "the facts are known", func() bool { return len(c.Status().Servers) == 1 })
		got := c.Status().Servers[0]
		if got.Version == "" {
			t.Error("the version is unknown")
		}
		if got.Version = ""; got != test.facts {
			t.Errorf("facts %+v, want %+v", got, test.facts)
		}
		warnings := logs.FilterLevelExact(zapcore.WarnLevel).All()
		if len(warnings) != 1 || !strings.Contains(warnings[0].Message, test.warn) {
			t.Errorf("warnings %v, want one of %q", warnings, test.warn)
		}
	}
}

func TestParseInfo(t *testing.T) {
	got := parseInfo("# Server\r\nredis_version:7.0.15\r\n\r\nrole:master\nmaxmemory_policy:noeviction")
	if want := (Facts{Version: "7.0.15", Role: "master", Policy: "noeviction"}); got != want {
		t.Errorf("got %+v", got)
	}
	if got := parseInfo(""); got != (Facts{}) {
		t.Errorf("got %+v", got)
	}
}
