// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package plugins imports every implementation that Gatehouse ships of its modules' interfaces.
package plugins

import (
	_ "github.com/gatehouse-proxy/gatehouse/plugins/memory"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/redis"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/ristretto"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/sinks/elasticsearch"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/sinks/file"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/sinks/httpsink"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/sinks/kafka"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/sinks/loki"
)
