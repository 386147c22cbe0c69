// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"strconv"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
)

// Weights are relative. The limits keep a typing error from starving the rest of a pool.
const (
	minWeight = 0.001
	maxWeight = 1000
)

// parseWeight accepts a weight in a Caddyfile or on a command line.
func parseWeight(s string) (float64, error) { return directive.Number(minWeight, maxWeight)(s) }

func checkWeight(weight float64) error {
	if !(weight >= minWeight && weight <= maxWeight) { // the negation catches NaN too
		return fmt.Errorf("expected a number from %g to %g, found %g (to send an upstream nothing, drain it)",
			minWeight, float64(maxWeight), weight)
	}
	return nil
}

func formatWeight(weight float64) string { return strconv.FormatFloat(weight, 'g', -1, 64) }

// weightOf returns the configured weight of an address; upstreams that are not named weigh 1.
func weightOf(weights map[string]float64, address string) float64 {
	if weight, ok := weights[address]; ok {
		return weight
	}
	return 1
}
