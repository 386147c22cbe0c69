// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package redis

// raced is explained in race_test.go.
const raced = false
