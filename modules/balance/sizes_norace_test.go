// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package balance_test

// How much the tests send.
const (
	inFlightRequests = 5_000 // of TestInFlightReturnsToZero, by each policy
	deadRequests     = 300   // of TestGuardOneOfFiveDead, by each policy
	outageRate       = 200   // requests a second of TestOutages, to each of two proxies
)
