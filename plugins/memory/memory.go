// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package memory keeps what the modules must remember in this process: the stores that are used where no other is
// configured. They need no server, are bounded, outlive config reloads, and share nothing with other processes.
package memory
