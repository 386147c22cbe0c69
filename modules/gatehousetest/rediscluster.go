// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package gatehousetest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// RedisCluster is a Redis Cluster of three masters without replicas, each a redis-server process.
type RedisCluster struct {
	// Nodes are the masters, in the order of the slots they hold: a third of them each.
	Nodes []*Redis
}

// slots is the number of hash slots of every Redis Cluster.
const slots = 16384

// StartRedisCluster starts a cluster and returns when it serves all slots. Its processes are killed when the test ends.
func StartRedisCluster(t testing.TB) *RedisCluster {
	t.Helper()
	c := &RedisCluster{}
	var ports []string
	for range 3 {
		_, bus, _ := net.SplitHostPort(FreeAddress(t))
		c.Nodes = append(c.Nodes, StartRedis(t, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "2000"))
		ports = append(ports, bus)
	}
	for i, node := range c.Nodes {
		expect(t, node, fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", i*slots/3, (i+1)*slots/3-1), "+OK")
		expect(t, node, fmt.Sprintf("CLUSTER SET-CONFIG-EPOCH %d", i+1), "+OK")
	}
	for i, node := range c.Nodes[1:] {
		host, port, _ := strings.Cut(node.Address, ":")
		expect(t, c.Nodes[0], fmt.Sprintf("CLUSTER MEET %s %s %s", host, port, ports[i+1]), "+OK")
	}
	c.awaitService(t)
	return c
}

// Addresses are the host and port of each node.
func (c *RedisCluster) Addresses() []string {
	var out []string
	for _, node := range c.Nodes {
		out = append(out, node.Address)
	}
	return out
}

// awaitService waits until every node knows who holds a key of each third of the slots.
func (c *RedisCluster) awaitService(t testing.TB) {
	t.Helper()
	for _, node := range c.Nodes {
		for _, key := range []string{"b", "c", "a"} { // slots 3300, 7365 and 15495
			Eventually(t, node.Address+" knows who holds "+key, func() bool {
				answer, err := node.Command("GET " + key)
				return err == nil && (answer == "$-1" || strings.HasPrefix(answer, "-MOVED "))
			})
		}
	}
}

func expect(t testing.TB, r *Redis, command, want string) {
	t.Helper()
	if answer, err := r.Command(command); err != nil || answer != want {
		t.Fatalf("%s answers %q, %v to %s, want %q", r.Address, answer, err, command, want)
	}
}

// Sentinel is a Redis Sentinel of one process, whose word alone decides a failover.
type Sentinel struct {
	// Address is its host and port.
	Address string
	// Master is the name that it knows the master by.
	Master string
}

// StartSentinel starts a sentinel that watches master and returns when it knows it. It takes a master for dead after 500 ms
// of silence. It is killed when the test ends.
func StartSentinel(t testing.TB, master *Redis) *Sentinel {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("this test needs a real redis-server on PATH (`make test` installs it): %v", err)
	}
	s := &Sentinel{Address: FreeAddress(t), Master: "main"}
	host, port, _ := strings.Cut(s.Address, ":")
	dir := t.TempDir()
	config := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("bind %s\nport %s\ndir %s\nprotected-mode no\nlogfile %s\n"+
		"sentinel monitor %[5]s %[6]s 1\nsentinel down-after-milliseconds %[5]s 500\nsentinel failover-timeout %[5]s 3000\n",
		host, port, dir, filepath.Join(dir, "sentinel.log"), s.Master, strings.Replace(master.Address, ":", " ", 1))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	process := exec.Command(program, config, "--sentinel")
	process.SysProcAttr = DieWithParent()
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill() // fails only if it is gone, which is what is wanted
		_ = process.Wait()
	})
	s.await(t, "SENTINEL CKQUORUM "+s.Master, func(answer string) bool { return strings.HasPrefix(answer, "+OK") })
	return s
}

// AwaitReplica waits until the sentinel knows a replica of the master that it could promote.
func (s *Sentinel) AwaitReplica(t testing.TB) {
	t.Helper()
	s.await(t, "SENTINEL REPLICAS "+s.Master, func(answer string) bool { return answer == "*1" })
}

func (s *Sentinel) await(t testing.TB, command string, done func(answer string) bool) {
	t.Helper()
	ask := &Redis{Address: s.Address}
	deadline := time.Now().Add(20 * time.Second)
	for {
		answer, err := ask.Command(command)
		if err == nil && done(answer) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the sentinel on %s answers %q, %v to %s", s.Address, answer, err, command)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
