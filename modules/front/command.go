// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package front

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile" // the adapter
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name: "front",
		Usage: "--to <address> [--to <address>...] [--from <address>] [--admin <address>|off] [--cache[=<size>]]" +
			" [--limit <requests>/<time>] [--ban] [--idempotency] [--redis <url>] [--ship <receiver>] [--access-log] [--compress]" +
			" [--change-host-header] [--insecure] [--internal-certs] [--disable-redirects] [--print-config]",
		Short:     "Stands in front of an existing application with careful defaults",
		Long:      help,
		CobraFunc: configure,
	})
}

const help = `
Stands in front of an application that runs already, prints what it switched on,
and passes pages, WebSockets and files through unchanged.

  gatehouse front --to localhost:3000
  gatehouse front --to app1:3000 --to app2:3000 --from example.com

--to is the application's address: HOST:PORT, https://HOST for one behind TLS (its
certificate is verified and the host header rewritten), h2c://HOST:PORT or
unix//PATH. Several addresses of one application share the requests.

--from is the address to listen on. A host name such as example.com means HTTPS
with an automatic certificate; :8080 or 127.0.0.1:8080 means plain HTTP.

--cache, --limit, --ban, --idempotency and --ship switch on what changes answers or
sends data elsewhere, with careful settings; --redis shares their state between
several proxies:

  gatehouse front --to localhost:3000 --cache --limit 600/1m --ban --idempotency

--print-config prints the configuration as a Caddyfile and exits. It is what runs
otherwise: save it, change it, and go on with the run command.
`

func configure(cmd *cobra.Command) {
	a, printConfig := arguments{}, false
	f := cmd.Flags()
	f.StringVarP(&a.from, "from", "f", ":8080", "Address to listen on")
	f.StringArrayVarP(&a.to, "to", "t", nil, "Address of the application; may be repeated")
	f.StringVar(&a.admin, "admin", caddy.DefaultAdminListen, "Address of the admin endpoint, or off")
	f.BoolVar(&a.accessLog, "access-log", false, "Log every request to stderr")
	f.BoolVar(&a.compress, "compress", false, "Compress responses for clients that ask for it")
	f.StringVar(&a.cache, "cache", "", "Cache what the application marks as public; --cache alone has 256MiB")
	f.Lookup("cache").NoOptDefVal = "256MiB"
	f.StringVar(&a.limit, "limit", "", "Limit each client to so many requests in a time, as in 100/1m")
	f.BoolVar(&a.ban, "ban", false, "Ban clients for an hour that go on against the limit")
	f.BoolVar(&a.idempotency, "idempotency", false, "Let a POST or PATCH with an Idempotency-Key take effect once")
	f.StringVar(&a.redis, "redis", "", "URL of a Redis in which limits, bans and keys are shared")
	f.StringVar(&a.ship, "ship", "", "Ship the access log to a URL, loki:URL or redis")
	f.BoolVarP(&a.changeHostHeader, "change-host-header", "c", false, "Set the Host header to the upstream's address")
	f.BoolVar(&a.insecure, "insecure", false, "Take any certificate of the application (WARNING: NO SECURITY AGAINST WHO IS BETWEEN)")
	f.BoolVarP(&a.internalCerts, "internal-certs", "i", false, "Take certificates from an authority of its own")
	f.BoolVarP(&a.disableRedirects, "disable-redirects", "r", false, "Do not listen on port 80 to redirect to HTTPS")
	f.BoolVar(&printConfig, "print-config", false, "Print the Caddyfile and exit")
	cmd.Args = noArguments
	// The wrapper for older commands would put errors into the log; here they are plain lines.
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return run(a, printConfig, cmd.OutOrStdout())
	}
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %s; the application's address goes with --to", shown(args[0]))
	}
	return nil
}

// run serves until a signal or the admin endpoint ends the process, or returns why it could not begin.
func run(a arguments, printConfig bool, out io.Writer) error {
	o, err := parse(a)
	if err != nil {
		return err
	}
	c := build(o, inThisBuild)
	adapted, err := c.adapt()
	if err != nil {
		return err
	}
	if printConfig {
		_, err := out.Write(c.caddyfile)
		return err
	}
	caddy.TrapSignals()
	if err := o.checkPorts(listen); err != nil {
		return err
	}
	if err := caddy.Load(adapted, true); err != nil {
		return fmt.Errorf("starting: %s", oneLine(err))
	}
	if err := c.announce(out, o); err != nil {
		caddy.Log().Warn("printing what front switched on", zap.Error(err)) // no reason to stop serving
	}
	select {}
}

func inThisBuild(module string) bool {
	_, err := caddy.GetModule(module)
	return err == nil
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// listen tries an address and lets it go again.
func listen(network, address string) error {
	l, err := new(net.ListenConfig).Listen(context.Background(), network, address)
	if err != nil {
		return err
	}
	return l.Close()
}
