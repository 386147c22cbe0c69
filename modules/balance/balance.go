// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package balance holds the policies that choose an upstream for Caddy's reverse_proxy, and what they share.
//
// A policy is asked for an upstream before each attempt and is never told how the attempt went. So in Provision it
// attaches itself to the reverse_proxy handler around it (attach.go), whose transport it wraps (observer.go): that is
// where attempts are counted, timed and classified. What is learned about an upstream is kept for the whole process by
// dial address (registry.go), so it survives reloads and serves all handlers that dial the same address.
//
// The way of a choice: a resolver (pool.go) finds the upstreams' states, from a snapshot that is valid until the pool, a
// weight or the registry changes; the policy chooses among those that are available, not drained, and have not failed
// this request before.
package balance
