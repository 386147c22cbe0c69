// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab/labtest"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(proxyVariable); config != "" {
		serveProxy(config)
		return
	}
	labtest.Main(m, main)
}

// A short run of what `make chaos` runs at length: the promise holds, and the same faults break both controls.
func TestFaults(t *testing.T) {
	seed, err := seedOf("")
	if err != nil {
		t.Fatal(err)
	}
	all, err := faultsNamed("all")
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range []string{algorithmGatehouse, algorithmPrecise, algorithmLock, algorithmSetNX} {
		t.Run(algorithm, func(t *testing.T) {
			s := settings{algorithm: algorithm, seed: seed, keys: 150, duplicates: 6, proxies: 3, faults: all, patience: 30 * time.Second}
			if algorithm == algorithmLock || algorithm == algorithmSetNX {
				s.keys, s.patience = 40, 3*time.Second // they send for as long as clients try
			}
			found, err := s.try(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Log(found)
			if found.falsely = 0; found.verdict() != nil { // 2 % of so few keys is chance
				t.Error(found.verdict())
			}
		})
	}
}

// Cuts of the connections to Redis alone leave nothing unknown.
func TestRedisCutsLeaveNothingUnknown(t *testing.T) {
	cuts, err := faultsNamed("redis")
	if err != nil {
		t.Fatal(err)
	}
	s := settings{algorithm: algorithmGatehouse, seed: 1, keys: 300, duplicates: 4, proxies: 2, faults: cuts, patience: 30 * time.Second}
	found, err := s.try(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(found)
	if err := found.verdict(); err != nil || found.cuts < 3 {
		t.Errorf("%d cuts: %v", found.cuts, err)
	}
}
