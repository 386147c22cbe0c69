// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/gatehouse-proxy/gatehouse/loadtest/lab"
)

// contender is a proxy with a policy.
type contender struct {
	name, title string
	kind        kind
	policy      string   // of our program: what stands after lb_policy
	needs       []string // of our program: the policies that must be compiled in
}

func (c contender) Key() string { return c.name }

type kind int

const (
	ours kind = iota
	nginx
	haproxy
)

const (
	leastConn = "least_conn"
	leastTime = "least_response_time"
	again     = "least_conn_again"
)

// contenders are compared on latency. Caddy's own policy runs in our program, so that the policy alone differs.
func contenders() []contender {
	return []contender{
		{name: leastTime, title: "Gatehouse least_response_time", policy: leastTime, needs: []string{leastTime}},
		{name: "guard", title: "Gatehouse guard, least_conn", policy: guardBlock, needs: []string{"guard"}},
		{name: leastConn, title: "Caddy least_conn", policy: leastConn},
		{name: "nginx", title: "nginx least_conn", kind: nginx},
		{name: "haproxy", title: "HAProxy leastconn", kind: haproxy},
	}
}

const guardBlock = "guard {\n\t\t\tpolicy least_conn\n\t\t}"

// costContenders are compared on CPU with the first of them. The second is the same once more: how much it differs is
// how much the machine lets two equals differ.
func costContenders() []contender {
	return []contender{
		{name: leastConn, title: "Caddy least_conn", policy: leastConn},
		{name: again, title: "Caddy least_conn, again", policy: leastConn},
		{name: leastTime, title: "Gatehouse least_response_time", policy: leastTime, needs: []string{leastTime}},
		{
			name: "consistent_hash", title: "Gatehouse consistent_hash, by a header",
			policy: "consistent_hash header X-Tenant", needs: []string{"consistent_hash"},
		},
		{name: "guard", title: "Gatehouse guard, least_conn", policy: guardBlock, needs: []string{"guard"}},
	}
}

// command configures the contender to listen on a port of 127.0.0.1 before the upstreams.
func (c contender) command(programs programs, folder string, port int, addresses []string) lab.Command {
	switch c.kind {
	case nginx:
		return lab.Command{
			Path: programs.nginx, File: "nginx.conf", Text: nginxConfig(folder, port, addresses),
			Args: []string{"-p", folder, "-c", filepath.Join(folder, "nginx.conf"), "-e", "stderr"},
		}
	case haproxy:
		return lab.Command{
			Path: programs.haproxy, File: "haproxy.cfg", Text: haproxyConfig(port, addresses),
			Args: []string{"-db", "-q", "-f", filepath.Join(folder, "haproxy.cfg")},
		}
	default:
		return lab.Command{
			Path: programs.gatehouse, File: "Caddyfile", Text: caddyfile(c.policy, port, addresses),
			Args: []string{"run", "--adapter", "caddyfile", "--config", filepath.Join(folder, "Caddyfile")},
			Env:  []string{"XDG_DATA_HOME=" + folder, "XDG_CONFIG_HOME=" + folder, "XDG_CACHE_HOME=" + folder},
		}
	}
}

func caddyfile(policy string, port int, addresses []string) string {
	return fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
}
http://:%d {
	bind 127.0.0.1
	reverse_proxy %s {
		lb_policy %s
	}
}
`, port, strings.Join(addresses, " "), policy)
}

// nginxConfig is what its manual advises for a proxy: connections to upstreams are kept, and its processes, one a core,
// share their counts.
func nginxConfig(folder string, port int, addresses []string) string {
	return fmt.Sprintf(`daemon off;
worker_processes %d;
pid %s/nginx.pid;
error_log stderr error;
events { worker_connections 8192; }
http {
	access_log off;
	client_body_temp_path %[2]s/body;
	proxy_temp_path %[2]s/proxy;
	fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi;
	scgi_temp_path %[2]s/scgi;
	upstream pool {
		zone pool 256k;
		least_conn;
		server %[3]s;
		keepalive 256;
	}
	server {
		listen 127.0.0.1:%[4]d;
		keepalive_requests 1000000;
		location / {
			proxy_pass http://pool;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
}
`, runtime.NumCPU(), folder, strings.Join(addresses, ";\n\t\tserver "), port)
}

func haproxyConfig(port int, addresses []string) string {
	var servers strings.Builder
	for i, address := range addresses {
		fmt.Fprintf(&servers, "\tserver s%d %s\n", i+1, address)
	}
	return fmt.Sprintf(`global
	maxconn 8192
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 60s
frontend entry
	bind 127.0.0.1:%d
	default_backend pool
backend pool
	balance leastconn
	http-reuse always
%s`, port, servers.String())
}

// programs are the paths of what a contender runs; empty where it is not installed.
type programs struct {
	gatehouse, origin, nginx, haproxy string
}

// missing says what a contender lacks, or nothing.
func (p programs) missing(c contender, modules []string) string {
	switch {
	case c.kind == nginx && p.nginx == "":
		return lab.NotInstalled("nginx", "nginx")
	case c.kind == haproxy && p.haproxy == "":
		return lab.NotInstalled("HAProxy", "haproxy")
	}
	for _, policy := range c.needs {
		if !slices.Contains(modules, "http.reverse_proxy.selection_policies."+policy) {
			return "this build has no policy " + policy
		}
	}
	return ""
}
