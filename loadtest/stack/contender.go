// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"embed"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// files are the configurations: what a contender has switched on stands there and nowhere else. They read PORT, ORIGIN,
// INGEST (which takes log lines), REDIS, ADMIN (for an admin endpoint) and FOLDER (for files) from the environment.
//
//go:embed contenders/*.caddyfile contenders/nginx.conf contenders/haproxy.cfg
var files embed.FS

// contender is a proxy with a configuration.
type contender struct {
	name, title string
	program     program
	file        string   // in contenders/
	needs       []string // modules that must be compiled in
	redis       bool     // needs a Redis
	env         []string // of the process
	prepare     []string // arguments of our program, run once the proxy serves; its admin endpoint is at ADMIN
	admin       bool     // has an admin endpoint, whatever the file says
}

// ships is whether it sends its access log to the receiver.
func (c contender) ships() bool { return slices.Contains(c.needs, "caddy.logging.writers.ship") }

type program int

const (
	gatehouse program = iota
	plainCaddy
	nginx
	haproxy
)

// Names of contenders that comparisons speak of.
const (
	plainNone  = "plain_none"
	plainAgain = "plain_again"
	plainFile  = "plain_file"
	allOn      = "all"
)

// bannedClient is who the contender `banned` refuses: an address for documentation, sent in X-Forwarded-For.
const bannedClient = "203.0.113.7"

// sameCollector keeps our program from setting Go's collector, so that both run at Go's default.
const sameCollector = "GOGC=100"

// allCores keeps our program from using fewer cores than there are while it has little to do.
func allCores() string { return "GOMAXPROCS=" + strconv.Itoa(runtime.NumCPU()) }

// contenders are all that can be compared, by name.
func contenders() []contender {
	everything := []string{
		"http.handlers.ip_ban", "http.handlers.request_limit", "http.handlers.response_cache", "http.handlers.idempotency_key",
		"http.reverse_proxy.selection_policies.least_response_time", "caddy.logging.writers.ship",
	}
	all := []contender{
		{name: plainNone, title: "Caddy, no access log", program: plainCaddy, file: "plain_none.caddyfile"},
		{name: plainAgain, title: "Caddy, no access log, again", program: plainCaddy, file: "plain_none.caddyfile"},
		{name: plainFile, title: "Caddy, access log to a file", program: plainCaddy, file: "plain_file.caddyfile"},
		{
			name: "off", title: "Gatehouse, nothing configured, Go's own settings", file: "plain_none.caddyfile",
			env: []string{sameCollector, allCores()},
		},
		{name: "off_shipped", title: "Gatehouse, nothing configured", file: "plain_none.caddyfile"},
		{name: allOn, title: "Gatehouse, everything, log shipped", file: "all.caddyfile", needs: everything},
		{
			name: "all_same", title: "Gatehouse, everything, log shipped, Caddy's collector settings", file: "all.caddyfile",
			needs: everything, env: []string{sameCollector},
		},
		{
			name: "all_go", title: "Gatehouse, everything, log shipped, Go's own settings", file: "all.caddyfile",
			needs: everything, env: []string{sameCollector, allCores()},
		},
		{
			name: "all_redis", title: "Gatehouse, everything, with Redis, log shipped", file: "all_redis.caddyfile", redis: true,
			needs: append([]string{"redis", "gatehouse.limit_stores.redis"}, everything...),
		},
		{name: "hit", title: "Gatehouse, cache hit", file: "hit.caddyfile", needs: []string{"http.handlers.response_cache"}},
		{name: "hit_all", title: "Gatehouse, cache hit, everything, log shipped", file: "all.caddyfile", needs: everything},
		{
			name: "banned", title: "Gatehouse, a banned client", file: "banned.caddyfile", needs: []string{"http.handlers.ip_ban"},
			prepare: []string{"bans", "add", bannedClient},
		},
		{
			name: "limited", title: "Gatehouse, a client over its limit", file: "limited.caddyfile",
			needs: []string{"http.handlers.request_limit"},
		},
		{name: "nginx", title: "nginx, no access log", program: nginx, file: "nginx.conf"},
		{name: "haproxy", title: "HAProxy, no access log", program: haproxy, file: "haproxy.cfg"},
	}
	return append(all, alone()...)
}

// named finds a contender. The names are this program's own.
func named(name string) contender {
	all := contenders()
	i := slices.IndexFunc(all, func(c contender) bool { return c.name == name })
	if i < 0 {
		panic("BUG: no contender " + name)
	}
	return all[i]
}

// programs are paths; empty where a program is not there.
type programs struct {
	gatehouse, plain, origin, nginx, haproxy, redis, vegeta string
}

func (p programs) path(of program) string {
	return [...]string{gatehouse: p.gatehouse, plainCaddy: p.plain, nginx: p.nginx, haproxy: p.haproxy}[of]
}

// missing says what a contender lacks, or nothing.
func (p programs) missing(c contender, modules []string) string {
	switch {
	case c.program == nginx && p.nginx == "":
		return lab.NotInstalled("nginx", "nginx")
	case c.program == haproxy && p.haproxy == "":
		return lab.NotInstalled("HAProxy", "haproxy")
	case c.redis && p.redis == "":
		return lab.NotInstalled("redis-server", "redis-server")
	}
	for _, id := range c.needs {
		if !slices.Contains(modules, id) {
			return "this build has no module " + id
		}
	}
	return ""
}

// places are what configurations read.
type places struct {
	origin, ingest, redis, admin string
}

// command configures a contender to keep its files in a folder and to listen on a port of 127.0.0.1.
func (c contender) command(p programs, at places, folder string, port int) (lab.Command, error) {
	text, err := files.ReadFile("contenders/" + c.file)
	if err != nil {
		return lab.Command{}, fmt.Errorf("reading the configuration of %s: %w", c.name, err)
	}
	env := []string{
		"PORT=" + strconv.Itoa(port), "ORIGIN=" + at.origin, "INGEST=" + at.ingest, "REDIS=" + at.redis, "ADMIN=" + at.admin,
		"FOLDER=" + folder,
		"CORES=" + strconv.Itoa(runtime.NumCPU()),
	}
	command := lab.Command{Path: p.path(c.program), File: c.file, Text: string(text)}
	if c.admin {
		command.Text = strings.Replace(command.Text, "admin off", "admin "+at.admin, 1)
	}
	file := filepath.Join(folder, c.file)
	switch c.program {
	case nginx: // which reads no environment
		command.Text = expand(command.Text, env)
		command.Args = []string{"-p", folder, "-c", file, "-e", "stderr"}
	case haproxy:
		command.Text = expand(command.Text, env)
		command.Args = []string{"-db", "-q", "-f", file}
	default:
		command.Args = []string{"run", "--adapter", "caddyfile", "--config", file}
		if c.program == gatehouse {
			command.Text = strings.Replace(command.Text, "auto_https off", "auto_https off"+c.settings(), 1)
		}
		env = append(env, "XDG_DATA_HOME="+folder, "XDG_CONFIG_HOME="+folder)
		command.Env = append(env, c.env...)
	}
	return command, nil
}

// settings are the global options by which any build runs as the binary does without being told, save where the environment
// sets it.
func (c contender) settings() string {
	var options string
	for _, o := range [][2]string{{"GOGC=", "collector"}, {"GOMAXPROCS=", "processors"}} {
		if !slices.ContainsFunc(c.env, func(variable string) bool { return strings.HasPrefix(variable, o[0]) }) {
			options += "\n\t" + o[1]
		}
	}
	return options
}

// expand fills in {$NAME}, as Caddy does.
func expand(text string, env []string) string {
	var pairs []string
	for _, assignment := range env {
		name, value, _ := strings.Cut(assignment, "=")
		pairs = append(pairs, "{$"+name+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
