// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func TestFixtures(t *testing.T) { gatehousetest.Fixtures(t, "testdata/*.caddyfiletest") }

// JSON knows no lines, so its errors name the module and the option.
func TestJSONErrors(t *testing.T) {
	for handler, want := range map[string]string{
		`"lease":7200000000000,"ttl":3600000000000`: `idempotency_key: lease: 2h0m0s is longer than ttl, which is 1h0m0s`,
		`"lease":1`:                            `idempotency_key: lease: expected at least 100ms, found 1ns`,
		`"ttl":-1`:                             `idempotency_key: ttl, lease, wait, timeout, store_timeout: expected durations of zero or more`,
		`"methods":["get"]`:                    `idempotency_key: methods: expected a method in capitals, such as POST, found "get"`,
		`"max_key":5000`:                       `idempotency_key: max_key: expected a whole number from 1 to 4096, found 5000`,
		`"anonymous":"yes"`:                    `idempotency_key: anonymous: expected one of shared, ip, reject, found "yes"`,
		`"on_unknown":"probe"`:                 `idempotency_key: probe: expected a path that begins with a slash, found ""`,
		`"probe":"/x"`:                         `idempotency_key: probe: needs on_unknown probe`,
		`"release_status":[99]`:                `idempotency_key: release_status: expected a whole number from 400 to 599, found 99`,
		`"encrypt":true`:                       `idempotency_key: encrypt: needs a secret`,
		`"fields":["Connection"]`:              `idempotency_key: fields: Connection is never replayed`,
		`"store":{"store":"redis"}`:            `no client is configured; add the global option`,
		`"store":{"store":"x"}`:                `idempotency_key: loading the store`,
		`"header":"a b"`:                       `idempotency_key: header: expected the name of a header field`,
		`"secret":"{env.GATEHOUSE_NO_SECRET}"`: `idempotency_key: secret: a placeholder in it is unknown or empty`,
	} {
		t.Run(handler, func(t *testing.T) {
			err := gatehousetest.Validate([]byte(`{"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[{"handle":[` +
				`{"handler":"idempotency_key",` + handler + `}]}]}}}}}`))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}
