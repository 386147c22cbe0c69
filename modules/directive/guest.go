// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package directive

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Guest parses `<option> <name> [<args...>] [{ ... }]`, where name is a module of the namespace, and stores its JSON in
// dst under the inline key. A guest that is not compiled in is an error that lists those that are: Caddy's own error names
// an ID and no way out.
func Guest(d *caddyfile.Dispenser, namespace, inlineKey string, dst *json.RawMessage) error {
	option := d.Val()
	if !d.NextArg() {
		return d.Errf("%s: expected a name; this build has: %s", option, Compiled(namespace))
	}
	name := d.Val()
	if _, err := caddy.GetModule(namespace + "." + name); err != nil {
		return d.Errf("%s: %q is not in this build, which has: %s (a build with the package that registers %s.%s adds it)",
			option, name, Compiled(namespace), namespace, name)
	}
	unmarshaler, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
	if err != nil {
		return err
	}
	*dst = caddyconfig.JSONModuleObject(unmarshaler, inlineKey, name, nil)
	return nil
}

// Compiled lists the names of the modules of a namespace in this build, or says that there is none.
func Compiled(namespace string) string {
	var names []string
	for _, m := range caddy.GetModules(namespace) {
		names = append(names, strings.TrimPrefix(string(m.ID), namespace+"."))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
