// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux || !(amd64 || arm64)

package processors

import "time"

// seats reports that no processor can be occupied here.
func seats() bool { return false }

func occupy(time.Duration) bool { panic("BUG: no seats here") }
