// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// site is a Caddyfile with the given global options.
func site(options ...string) string {
	return "{\n" + strings.Join(options, "\n") + "\n}\n:8080 {\n\trespond ok\n}\n"
}

// option is a global option for a patient client, as at configures.
func option(nameAndURL string, more ...string) string {
	return "redis " + nameAndURL + " {\n\ttimeout 10s\n\tprobe {\n\t\ttimeout 2s\n\t}\n\t" + strings.Join(more, "\n\t") + "\n}"
}

func lookup(t *testing.T, name string) *Client {
	t.Helper()
	c, ok := Lookup(name)
	if !ok {
		t.Fatalf("no client %q is running", name)
	}
	return c
}

func TestReload(t *testing.T) {
	gatehousetest.NoLeaks(t)
	one, two := gatehousetest.StartRedis(t), gatehousetest.StartRedis(t)
	config := site(option(one.URL()))
	s := gatehousetest.Start(t, config)
	c := lookup(t, DefaultName)
	ask(t, c, "PING")

	if err := s.Reload(config + "# the same\n"); err != nil {
		t.Fatal(err)
	}
	if lookup(t, DefaultName) != c {
		t.Fatal("a reload of the same configuration made another client")
	}
	ask(t, c, "PING")

	if err := s.Reload(site(option(two.URL()), option("other "+one.URL()))); err != nil {
		t.Fatal(err)
	}
	now := lookup(t, DefaultName)
	if now == c {
		t.Fatal("a changed URL kept the client")
	}
	if _, err := c.Do(t.Context(), "PING"); !errors.Is(err, ErrClosed) {
		t.Fatalf("the client that no config uses answers %v", err)
	}
	ask(t, now, "SET", "here", "1")
	if answer, _ := two.Command("EXISTS here"); answer != ":1" {
		t.Fatal("the new client talks to another server")
	}
	ask(t, lookup(t, "other"), "PING")

	if err := s.Reload(site("")); err != nil {
		t.Fatal(err)
	}
	if _, ok := Lookup(DefaultName); ok {
		t.Fatal("a client that is configured no more is still found")
	}
}

func init() { caddy.RegisterModule(unstartable{}) }

// unstartable is an app that never starts.
type unstartable struct{}

func (unstartable) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "redis_test_unstartable", New: func() caddy.Module { return new(unstartable) }}
}
func (unstartable) Start() error { return errors.New("never starts") }
func (unstartable) Stop() error  { return nil }

func TestRejectedReload(t *testing.T) {
	gatehousetest.NoLeaks(t)
	server := gatehousetest.StartRedis(t)
	s := gatehousetest.Start(t, site(option(server.URL())))
	c := lookup(t, DefaultName)
	ask(t, c, "PING")
	other := "redis://" + gatehousetest.FreeAddress(t)
	same := `"default":{"url":"` + server.URL() + `","timeout":"10s","probe":{"timeout":"2s"}}`
	changed := `"default":{"url":"` + other + `"}`
	for _, config := range []string{
		`{"apps":{"redis":{"clients":{` + same + `,"zz":{"url":"nonsense"}}}}}`,
		`{"apps":{"redis":{"clients":{` + changed + `,"zz":{"url":"nonsense"}}}}}`,
		// Apps start in random order, so in some runs ours has started.
		`{"apps":{"redis_test_unstartable":{},"redis":{"clients":{` + same + `}}}}`,
		`{"apps":{"redis_test_unstartable":{},"redis":{"clients":{` + changed + `}}}}`,
	} {
		for range 6 {
			if err := s.ReloadJSON([]byte(config)); err == nil {
				t.Fatalf("accepted: %s", config)
			}
			if lookup(t, DefaultName) != c {
				t.Fatalf("rejected, but it changed the client: %s", config)
			}
			ask(t, c, "PING")
		}
	}
}

func TestHundredReloads(t *testing.T) {
	gatehousetest.NoLeaks(t)
	server := gatehousetest.StartRedis(t)
	s := gatehousetest.Start(t, site(option(server.URL())))
	for i := range 100 {
		prefix := fmt.Sprint("p", i/2) // every other reload changes the client
		if err := s.Reload(site(option(server.URL(), "prefix "+prefix), fmt.Sprint("# ", i))); err != nil {
			t.Fatal(err)
		}
		c := lookup(t, DefaultName)
		if want := prefix + ":1:k"; c.Key("k") != want {
			t.Fatalf("key %q, want %q", c.Key("k"), want)
		}
		ask(t, c, "SET", c.Key("k"), i)
	}
	n := 0
	clients.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Fatalf("%d clients live after the reloads", n)
	}
}

// A config is checked, loaded and replaced without a connection.
func TestNothingIsDialedBeforeTheFirstCommand(t *testing.T) {
	var accepted atomic.Int32
	a := gatehousetest.Listen(t, func(net.Conn) { accepted.Add(1) })
	config := site("redis redis://" + a + " {\n pool {\n min_idle 5\n }\n}\nredis s {\n sentinel m " + a + "\n}\nredis c {\n cluster " + a + "\n}")
	adapted, err := gatehousetest.Adapt(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := gatehousetest.Validate(adapted); err != nil {
		t.Fatal(err)
	}
	s := gatehousetest.Start(t, config)
	if err := s.Reload(config + "#\n"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // longer than a probe's interval
	if n := accepted.Load(); n != 0 {
		t.Fatalf("%d connections before the first command", n)
	}
	_, _ = lookup(t, DefaultName).Do(t.Context(), "PING") // the control
	eventually(t, "the first command dials", func() bool { return accepted.Load() > 0 })
}

func TestValidateOfAnUnreachableServerIsQuick(t *testing.T) {
	begun := time.Now()
	err := gatehousetest.Validate([]byte(`{"apps":{"redis":{"clients":{"default":{"url":"redis://192.0.2.1:6379"}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	atMost(t, "validating", time.Since(begun), 2*time.Second)
}

func TestApp(t *testing.T) {
	ctx := gatehousetest.Context(t)
	load := func(config string) *App {
		t.Helper()
		app, err := ctx.LoadModuleByID("redis", json.RawMessage(config))
		if err != nil {
			t.Fatal(err)
		}
		return app.(*App)
	}
	app := load(`{"clients":{"default":{"url":"redis://127.0.0.1:1"},"b":{"url":"redis://127.0.0.1:2"}}}`)
	if !app.HasDefault() {
		t.Error("the default client is not seen")
	}
	c, err := app.Client("")
	if err != nil || c.Name() != DefaultName || !c.Healthy() {
		t.Errorf("the default client is %v, %v", c, err)
	}
	if _, err := app.Client("x"); err == nil || !strings.Contains(err.Error(), `no redis client "x"; configured are: b, default`) {
		t.Errorf("an unknown name gives %v", err)
	}
	if c.Key("limit", "{a}", "b") != "gatehouse:1:limit:{a}:b" || c.Prefix() != "gatehouse:1:" {
		t.Errorf("keys are %q", c.Key("limit", "{a}", "b"))
	}
	empty := load("{}")
	if _, err := empty.Client(""); empty.HasDefault() || err == nil || !strings.Contains(err.Error(), "add the global option") {
		t.Errorf("an empty app gives %v", err)
	}
}

func TestAdminAndMetrics(t *testing.T) {
	server := gatehousetest.StartRedis(t)
	s := gatehousetest.Start(t, site(option(server.URL()), "redis spare redis://u:hunter2@"+gatehousetest.FreeAddress(t)+"/2"))
	for range 3 {
		ask(t, lookup(t, DefaultName), "PING")
	}
	_, _ = lookup(t, "spare").Do(t.Context(), "PING")
	eventually(t, "both states are known", func() bool {
		return lookup(t, DefaultName).Status().State == StateUp && lookup(t, "spare").Status().State == StateDown &&
			len(lookup(t, DefaultName).Status().Servers) == 1
	})
	answer := s.Admin(http.MethodGet, "/gatehouse/redis", "")
	var list []Status
	if err := json.Unmarshal([]byte(answer.Body), &list); err != nil || len(list) != 2 {
		t.Fatalf("%s: %v", answer.Body, err)
	}
	up, down := list[0], list[1]
	if up.Name != DefaultName || up.State != StateUp || up.Pings == 0 || up.Addresses[0] != server.Address ||
		up.Mode != "standalone" || up.Servers[0].Version == "" || up.Servers[0].Policy != "noeviction" {
		t.Errorf("status %+v", up)
	}
	if down.Name != "spare" || down.State != StateDown || down.Opens != 1 || down.LastError == "" || down.LastErrorAt == nil {
		t.Errorf("status %+v", down)
	}
	if strings.Contains(answer.Body, "hunter2") {
		t.Error("the admin route tells the password")
	}
	if resp := s.Admin(http.MethodPost, "/gatehouse/redis", ""); resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET" {
		t.Errorf("POST gives %d, allowing %q", resp.StatusCode, resp.Header.Get("Allow"))
	}
	metrics := s.Admin(http.MethodGet, "/metrics", "").Body
	for _, want := range []string{
		`gatehouse_redis_up{client="default"} 1`, `gatehouse_redis_up{client="spare"} 0`,
		`gatehouse_redis_requests_total{client="default",outcome="ok"} [1-9]`,
		`gatehouse_redis_requests_total{client="spare",outcome="unavailable"} [1-9]`,
		`gatehouse_redis_breaker_opens_total{client="spare"} [1-9]`,
		`gatehouse_redis_wait_seconds_count{client="default"} [1-9]`,
		`gatehouse_redis_queued_commands{client="default"} 0`,
	} {
		if !regexp.MustCompile(want).MatchString(metrics) { // counts are the process's, also of an earlier run
			t.Errorf("the metrics lack %s", want)
		}
	}
	if err := s.Reload(site("")); err != nil {
		t.Fatal(err)
	}
	if metrics := s.Admin(http.MethodGet, "/metrics", "").Body; strings.Contains(metrics, "gatehouse_redis_up{") {
		t.Error("a client that is gone leaves a state behind")
	}
}
