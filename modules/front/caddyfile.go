// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package front

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// config is what front runs and what it tells about it.
type config struct {
	caddyfile []byte    // the configuration, and the whole of it
	list      []setting // what it switches on
}

// setting is a line of the printed list.
type setting struct{ name, value string }

// build carries the command line out on paper. has reports whether this build has a Caddy module.
func build(o options, has func(module string) bool) config {
	var c config
	var missing []string
	parts := lines{}
	for _, feature := range capabilities() {
		if feature.when != nil && !feature.when(o) {
			continue
		}
		if feature.module != "" && !has(feature.module) {
			missing = append(missing, feature.module)
			c.list = append(c.list, setting{feature.name, "NOT in this build, which has no module " + feature.module})
			continue
		}
		c.list = append(c.list, setting{feature.name, feature.setting(o)})
		for p, text := range feature.lines(o) {
			parts[p] = append(parts[p], text...)
		}
	}
	c.caddyfile = render(o, parts, missing)
	return c
}

// render writes the blocks out. Caddy's own formatter indents them.
func render(o options, parts lines, missing []string) []byte {
	var b strings.Builder
	for _, module := range missing {
		fmt.Fprintf(&b, "# left out: this build has no module %s\n", module)
	}
	b.WriteString("{\n")
	write(&b, parts[inGlobal]...)
	write(&b, "servers {")
	write(&b, parts[inServers]...)
	write(&b, "timeouts {")
	write(&b, parts[inTimeouts]...)
	write(&b, "}", "}", "}", "", o.from.site()+" {")
	write(&b, parts[inSite]...)
	b.WriteString("reverse_proxy")
	for _, u := range o.to {
		b.WriteString(" " + u.String())
	}
	write(&b, " {")
	write(&b, parts[inProxy]...)
	write(&b, "transport http {")
	write(&b, parts[inTransport]...)
	write(&b, "}", "}", "}")
	return caddyfile.Format([]byte(b.String()))
}

func write(b *strings.Builder, text ...string) {
	for _, line := range text {
		b.WriteString(line + "\n")
	}
}

// adapt turns the Caddyfile into the JSON that Caddy runs, by Caddy's own adapter.
func (c config) adapt() ([]byte, error) {
	adapter := caddyconfig.GetAdapter("caddyfile")
	if adapter == nil {
		return nil, fmt.Errorf("this build has no Caddyfile adapter; it needs Caddy's standard modules")
	}
	// The name is what error messages show; there is no such file.
	result, warnings, err := adapter.Adapt(c.caddyfile, map[string]any{"filename": "front"})
	if err != nil {
		return nil, fmt.Errorf("adapting the Caddyfile of front: %w", err)
	}
	if len(warnings) > 0 {
		return nil, fmt.Errorf("adapting the Caddyfile of front: %s", warnings[0])
	}
	return result, nil
}

// announce prints where the application is served and what was switched on.
func (c config) announce(w io.Writer, o options) error {
	var b bytes.Buffer
	to := make([]string, len(o.to))
	for i, u := range o.to {
		to[i] = u.String()
	}
	fmt.Fprintf(&b, "front serves %s from %s\n\n", o.from, strings.Join(to, " "))
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, s := range c.list {
		fmt.Fprintf(table, "  %s\t%s\n", s.name, s.value)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	b.WriteString("\nThe Caddyfile that this is: the same command with --print-config\n")
	_, err := w.Write(b.Bytes())
	return err
}
