// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package meter_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/gatehouse-proxy/gatehouse/modules/meter"
)

func newCounter() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: meter.Namespace, Name: "test_total", Help: "A test."})
}

func TestCountsSurviveAReload(t *testing.T) {
	c := newCounter()
	running, reloaded := prometheus.NewRegistry(), prometheus.NewRegistry()
	for _, reg := range []*prometheus.Registry{running, running, reloaded} { // two handlers, then a reload
		if err := meter.Register(reg, c); err != nil {
			t.Fatal(err)
		}
		c.Inc()
	}
	want := "# HELP gatehouse_test_total A test.\n# TYPE gatehouse_test_total counter\ngatehouse_test_total 3\n"
	if err := testutil.GatherAndCompare(reloaded, strings.NewReader(want)); err != nil {
		t.Fatal(err)
	}
}

func TestAnotherCollectorOfTheSameNameIsAnError(t *testing.T) {
	reg := prometheus.NewRegistry()
	if err := meter.Register(reg, newCounter()); err != nil {
		t.Fatal(err)
	}
	if err := meter.Register(reg, newCounter()); err == nil {
		t.Fatal("the second collector's counts would be lost without a word")
	}
}
