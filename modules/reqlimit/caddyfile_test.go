// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

func TestFixtures(t *testing.T) { gatehousetest.Fixtures(t, "testdata/*.caddyfiletest") }

// JSON knows no lines, so its errors name the module and the option.
func TestJSONErrors(t *testing.T) {
	for name, c := range map[string]struct{ options, want string }{
		"no window":   {``, `request_limit: window: expected 1 to 8 windows, found 0`},
		"name":        {`"policy":"a b","windows":[{"limit":1,"period":1000000000}]`, `policy: expected a name of letters`},
		"limit":       {`"windows":[{"limit":-1,"period":1000000000}]`, `limit: expected a whole number from 1 to 1000000000, found -1`},
		"period":      {`"windows":[{"limit":1,"period":1}]`, `period: expected a duration from 100ms`},
		"status":      {`"status":200,"windows":[{"limit":1,"period":1000000000}]`, `status: expected a whole number from 400 to 599, found 200`},
		"charge_on":   {`"charge_on":[99],"windows":[{"limit":1,"period":1000000000}]`, `charge_on: expected a status`},
		"headers":     {`"headers":"x","windows":[{"limit":1,"period":1000000000}]`, `headers: expected one of`},
		"ipv6_prefix": {`"ipv6_prefix":8,"windows":[{"limit":1,"period":1000000000}]`, `ipv6_prefix: expected a whole number from 32 to 128`},
		"allow":       {`"allow":["x"],"windows":[{"limit":1,"period":1000000000}]`, `allow: expected an IP address`},
		"cost":        {`"cost":"'x'","windows":[{"limit":1,"period":1000000000}]`, `cost: the expression`},
		"max_memory":  {`"store":{"store":"memory","max_memory":1},"windows":[{"limit":1,"period":1000000000}]`, `max_memory: expected at least 64KiB`},
		"burst":       {`"algorithm":"gcra","burst":2,"windows":[{"limit":1,"period":1000000000}]`, `burst: expected at most the limit of the window 1/1s, found 2`},
		"unknown":     {`"window":1`, `unknown field "window"`},
	} {
		t.Run(name, func(t *testing.T) {
			options := ""
			if c.options != "" {
				options = "," + c.options
			}
			err := gatehousetest.Validate([]byte(`{"apps":{"http":{"servers":{"a":{"listen":[":8080"],"routes":[{"handle":[{"handler":"request_limit"` +
				options + `}]}]}}}}}`))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
