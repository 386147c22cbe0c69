// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ipban_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// A thousand operators ban while clients send requests, and there is room for half of the bans: each one that was
// confirmed is in force, each other one was refused, and the limit holds.
func TestConcurrentBans(t *testing.T) {
	gatehousetest.NoLeaks(t)
	const operators, limit = 1000, 500
	s := gatehousetest.Start(t, config(fmt.Sprintf("ip_bans {\n\t\tmax_bans %d\n\t}", limit), plain))
	address := func(i int) string { return fmt.Sprintf("203.0.%d.%d", 100+i/250, 1+i%250) }
	confirmed := make([]bool, operators)
	var all, clients sync.WaitGroup
	var over atomic.Bool
	for range 4 {
		clients.Go(func() {
			for i := 0; !over.Load(); i++ {
				resp, err := s.Try(http.MethodGet, s.URL(":8080")+"/", "", "X-Forwarded-For: "+address(i%operators))
				if err != nil || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusForbidden {
					t.Errorf("a client got %v, %v", resp.Response, err)
					return
				}
			}
		})
	}
	for i := range operators {
		all.Go(func() {
			resp, err := s.Try(http.MethodPost, "http://"+s.AdminAddress()+"/gatehouse/bans", fmt.Sprintf(`{"prefixes":[%q]}`, address(i)))
			if err != nil || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusInsufficientStorage {
				t.Errorf("an operator got %v, %v", resp.Response, err)
			}
			confirmed[i] = err == nil && resp.StatusCode == http.StatusOK
		})
	}
	all.Wait()
	over.Store(true)
	clients.Wait()

	var list struct {
		Bans []struct{ Prefix string }
	}
	if err := json.Unmarshal([]byte(s.Admin(http.MethodGet, "/gatehouse/bans", "").Body), &list); err != nil {
		t.Fatal(err)
	}
	banned := map[string]bool{}
	for _, b := range list.Bans {
		banned[b.Prefix] = true
	}
	for i, yes := range confirmed {
		if banned[address(i)+"/32"] != yes {
			t.Errorf("the ban of %s was confirmed: %v, is in force: %v", address(i), yes, !yes)
		}
	}
	if len(banned) > limit || len(banned) < limit/10 {
		t.Errorf("%d bans are in force, want up to %d", len(banned), limit)
	}
}
