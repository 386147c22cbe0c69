// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ristretto

import (
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/respcache"
	"github.com/gatehouse-proxy/gatehouse/modules/respcache/respcachetest"
)

func TestConformance(t *testing.T) {
	gatehousetest.NoLeaks(t)
	respcachetest.RunStore(t, func(t *testing.T, budget int64) respcache.OpenStore {
		s, err := open(budget)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
