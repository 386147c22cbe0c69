// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build race

package redis

// raced says that the tests run under the race detector, which makes everything several times slower: what does not look for
// races there, and runs in full without it, is cut short.
const raced = true
