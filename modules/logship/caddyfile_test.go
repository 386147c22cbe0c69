// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package logship_test

import (
	"os"
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/redis"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/sinks/file"
	_ "github.com/gatehouse-proxy/gatehouse/plugins/sinks/httpsink"
)

func TestCaddyfile(t *testing.T) {
	t.Cleanup(func() {
		if err := os.RemoveAll("/tmp/gatehouse-fixture"); err != nil { // the fixtures' spools, which provisioning makes
			t.Error(err)
		}
	})
	gatehousetest.Fixtures(t, "testdata/*.caddyfiletest")
}

// JSON has no line to name, so an error names the module and the option.
func TestJSONErrors(t *testing.T) {
	for writer, want := range map[string]string{
		`{"output":"ship"}`:                                                                       "output ship: sinks: expected 1 to 16, found 0",
		`{"output":"ship","sinks":[{}]}`:                                                          "an entry has no sink",
		`{"output":"ship","sinks":[null]}`:                                                        "an entry is null",
		`{"output":"ship","sinks":[{"sink":7}]}`:                                                  "expected an object with the name of a module",
		`{"output":"ship","sinks":[{"sink":{"sink":"lokey"}}]}`:                                   `"lokey" is not in this build`,
		`{"output":"ship","sinks":[{"sink":{"sink":"nats"}}]}`:                                    "the package that registers gatehouse.log_sinks.nats",
		`{"output":"ship","sinks":[{"sink":{"sink":"http"}}]}`:                                    "url: expected a URL",
		`{"output":"ship","sinks":[{"sink":{"sink":"http","x":1}}]}`:                              `unknown field "x"`,
		`{"output":"ship","path":"{env.NO_SUCH_VARIABLE}","sinks":[{"sink":{"sink":"testing"}}]}`: "path:",
		`{"output":"ship","on_full":"block","sinks":[{"sink":{"sink":"testing"}}]}`:               "on_full: block needs a duration",
		`{"output":"ship","segment_size":1,"sinks":[{"sink":{"sink":"testing"}}]}`:                "segment_size: expected 64 KiB to 64 MiB",
		`{"output":"ship","max_size":-1,"sinks":[{"sink":{"sink":"testing"}}]}`:                   "max_size: expected at least 256 KiB",
		`{"output":"ship","sync":1,"sinks":[{"sink":{"sink":"testing"}}]}`:                        "sync: expected at least 10ms",
		`{"output":"ship","flush":3600000000000,"sinks":[{"sink":{"sink":"testing"}}]}`:           "expected at most 1m",
		`{"output":"ship","batch":{"lines":-1},"sinks":[{"sink":{"sink":"testing"}}]}`:            "batch: expected 1 to 100000 lines",
		`{"output":"ship","node":"../x","sinks":[{"sink":{"sink":"testing"}}]}`:                   "node: expected letters",
		`{"output":"ship","sinks":[{"name":"..","sink":{"sink":"testing"}}]}`:                     "name: expected letters",
	} {
		err := gatehousetest.Validate([]byte(`{"logging":{"logs":{"x":{"writer":` + writer + `}}}}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want %q", writer, err, want)
		}
	}
}
