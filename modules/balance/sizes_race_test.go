// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build race

package balance_test

// How much the tests send under the race detector, which makes everything about ten times as slow.
const (
	inFlightRequests = 1_500 // of TestInFlightReturnsToZero, by each policy
	deadRequests     = 100   // of TestGuardOneOfFiveDead, by each policy
	outageRate       = 80    // requests a second of TestOutages, to each of two proxies
)
