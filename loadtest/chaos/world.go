// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gatehouse-proxy/gatehouse/cmd/origin/origin"
	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// Who is who: the last proxy has the small disk, and the first one dies, as does the first upstream.
const (
	proxies   = 3
	upstreams = 4
	mortal    = 0 // of either
)

// world is everything that runs.
type world struct {
	settings
	progress io.Writer
	folder   string
	app      *origin.App // counts what took effect, over the deaths of upstreams
	origins  []*upstream
	receiver *receiver
	redis    *lab.Process
	address  string // of Redis
	proxies  []*proxy
	found    findings

	// outages counts the begins and ends of Redis' outages: an odd number is an outage.
	outages atomic.Int64
	phase   atomic.Value // the name of the fault that is under way
}

// upstream is a cmd/origin in this process, on an address of its own.
type upstream struct {
	name, address string
	mu            sync.Mutex // guards the two
	listener      *origin.Listener
	server        *origin.Server
}

func (u *upstream) start(ctx context.Context, app *origin.App) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var err error
	if u.listener, err = app.Listener(u.name, origin.Settings{Latency: "exp:5ms"}); err != nil {
		return err
	}
	u.server, err = origin.Start(ctx, u.listener, u.address)
	return err
}

// kill cuts all of its connections.
func (u *upstream) kill() {
	u.mu.Lock()
	defer u.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = u.server.Stop(ctx) // says that connections were cut, which is the purpose
}

func (u *upstream) set(s origin.Settings) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.listener.Set(s)
}

func (u *upstream) requests() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.listener.Stats().Requests
}

// freeAddress is on a loopback network that no connection goes out from, so that its port stays free.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// build starts everything.
func (s settings) build(ctx context.Context, progress io.Writer) (w *world, err error) {
	w = &world{settings: s, progress: progress, app: origin.NewApp(origin.Options{Seed: s.seed})}
	w.phase.Store("the start")
	defer func() {
		if err != nil {
			w.tearDown()
		}
	}()
	if w.folder, err = os.MkdirTemp("", "gatehouse-chaos-"); err != nil {
		return w, fmt.Errorf("making a folder: %w", err)
	}
	for i := range upstreams {
		u := &upstream{name: fmt.Sprintf("upstream%d", i)}
		if u.address, err = freeAddress(); err != nil {
			return w, err
		}
		w.origins = append(w.origins, u)
		if err = u.start(ctx, w.app); err != nil {
			return w, err
		}
	}
	if w.receiver, err = startReceiver(); err != nil {
		return w, err
	}
	if w.address, err = freeAddress(); err != nil {
		return w, err
	}
	if err = w.startRedis(ctx); err != nil {
		return w, err
	}
	return w, w.startProxies(ctx)
}

func (w *world) startProxies(ctx context.Context) error {
	var group sync.WaitGroup
	failed := make([]error, proxies)
	for i := range proxies {
		p := &proxy{number: i, folder: filepath.Join(w.folder, fmt.Sprintf("proxy%d", i)), caddyfile: w.caddyfile}
		var err1, err2 error
		p.address, err1 = freeAddress()
		p.admin, err2 = freeAddress()
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		p.ownDisk = i == proxies-1 && mayMount()
		w.proxies = append(w.proxies, p)
		group.Go(func() {
			err := p.start(ctx)
			if err != nil && p.ownDisk && p.running != nil && p.running.Status() == noDisk {
				p.ownDisk = false // such as in a container
				err = p.start(ctx)
			}
			failed[i] = err
		})
	}
	group.Wait()
	return errors.Join(failed...)
}

// startRedis starts it with what it kept, and waits until it answers.
func (w *world) startRedis(ctx context.Context) error {
	program, err := lab.NeedRedis()
	if err != nil {
		return err
	}
	host, port, _ := strings.Cut(w.address, ":")
	w.redis, err = lab.StartCommand(exec.Command(program, "--bind", host, "--port", port, "--dir", w.folder, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--protected-mode", "no"))
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(startTimeout); ; {
		conn, err := net.DialTimeout("tcp", w.address, time.Second)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) || !lab.SleepUntil(ctx, time.Now().Add(10*time.Millisecond)) {
			return fmt.Errorf("redis-server does not answer: %w: %s", err, w.redis.Log)
		}
	}
}

// tearDown ends everything.
func (w *world) tearDown() {
	for _, p := range w.proxies {
		if p.running != nil {
			p.running.Kill()
			<-p.running.Ended
		}
	}
	if w.redis != nil {
		_ = w.redis.Signal(syscall.SIGCONT) // fails only if it is gone
		w.redis.Stop()
	}
	for _, u := range w.origins {
		if u.server != nil {
			u.kill()
		}
	}
	if w.receiver != nil {
		w.receiver.stop()
	}
	if w.folder != "" {
		_ = os.RemoveAll(w.folder) // a leftover in the folder for temporary files
	}
}

// caddyfile is a proxy's configuration; versions differ in a header, so that a reload is one.
func (w *world) caddyfile(p *proxy, version int) string {
	var at []string
	for _, u := range w.origins {
		at = append(at, u.address)
	}
	_, port, _ := strings.Cut(p.address, ":")
	fill := strings.NewReplacer("{ADMIN}", p.admin, "{PORT}", port, "{REDIS}", w.address, "{SPOOL}", p.spool(),
		"{HTTP}", w.receiver.address, "{TCP}", w.receiver.stream, "{UPSTREAMS}", strings.Join(at, " "),
		"{VERSION}", fmt.Sprint(version), "{NODE}", fmt.Sprint(p.number), "{LIMIT}", fmt.Sprint(limit))
	if w.control {
		return fill.Replace(controlCaddyfile)
	}
	return fill.Replace(wholeCaddyfile)
}

// wholeCaddyfile has every capability, with short times where a run would else have to wait. Redis may be silent for longer than
// by default: a machine whose disk or cores are busy elsewhere is none of the faults, and whatever a proxy takes for an outage
// is one to it.
const wholeCaddyfile = `{
	admin {ADMIN} {
		origins {ADMIN}
	}
	persist_config off
	auto_https off
	collector
	processors
	grace_period 5s
	redis redis://{REDIS}/0 {
		probe {
			timeout 1s
		}
	}
	servers {
		trusted_proxies static 127.0.0.0/8
		trusted_proxies_strict
	}
	log {
		level ERROR
	}
}

http://:{PORT} {
	bind 127.0.0.2
	log {
		output ship {SPOOL} {
			sink http http://{HTTP}/
			node proxy{NODE}
			batch 5000 1MiB 100ms
			retry 10ms 500ms
			max_size 64MiB
			segment_size 64KiB
		}
	}
	header X-Version {VERSION}
	ready /ready
	ip_ban
	request_limit /bytes/1* bursts {
		key {header.X-Burst}
		window {LIMIT} 1h
	}
	response_cache 32MiB
	idempotency_key {
		require /orders*
		lease 400ms
		wait 3s
		ttl 1h
	}
	reverse_proxy {UPSTREAMS} {
		lb_policy least_response_time
		lb_retries 3
		stream_close_delay 1h
	}
}
`

// controlCaddyfile asks for the same of parts that know nothing of other proxies, and do nothing about crashes.
const controlCaddyfile = `{
	admin {ADMIN} {
		origins {ADMIN}
	}
	persist_config off
	auto_https off
	grace_period 5s
	servers {
		trusted_proxies static 127.0.0.0/8
		trusted_proxies_strict
	}
	log {
		level ERROR
	}
}

http://:{PORT} {
	bind 127.0.0.2
	log {
		output net {TCP} {
			soft_start
		}
	}
	header X-Version {VERSION}
	ready /ready
	ip_ban
	request_limit /bytes/1* bursts {
		key {header.X-Burst}
		window {LIMIT} 1h
	}
	response_cache 32MiB
	reverse_proxy {UPSTREAMS} {
		lb_policy least_conn
	}
}
`

// everyProxy does one thing with each, at once.
func (w *world) everyProxy(do func(*proxy) error) error {
	return lab.Each(w.proxies, do)
}

// client keeps connections to the proxies. It follows no redirects and undoes no compression.
func newClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
