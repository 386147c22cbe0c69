// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package directive holds what every Caddyfile parser of Gatehouse shares: options that take a line each, the kinds of
// values, the loading of guests, and the order of directives.
//
// A parser reads like the syntax it accepts:
//
//	return directive.Block(d, directive.Options{
//		"window":  func() error { return directive.Arg(d, &l.Window, directive.PositiveDuration) },
//		"dry_run": func() error { return directive.Flag(d, &l.DryRun) },
//	})
//
// Every error carries file and line and says what was expected.
package directive

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Options maps the name of each option of a block to the function that parses it. When the function is called, the
// dispenser stands on the name.
type Options map[string]func() error

// Block parses the block that follows, if any, one option a line. An unknown option is an error that lists the known
// ones; an option given twice is an error unless it is named in repeatable, as the first would be silently lost.
func Block(d *caddyfile.Dispenser, options Options, repeatable ...string) error {
	seen := map[string]bool{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		parse, ok := options[name]
		if !ok {
			return d.Errf("unrecognized option %q; expected one of: %s", name, words(options))
		}
		if seen[name] && !slices.Contains(repeatable, name) {
			return d.Errf("option %q is given twice", name)
		}
		seen[name] = true
		if err := parse(); err != nil {
			return err
		}
	}
	return nil
}

// Arg parses the option's only argument into dst. A missing or further argument, or one that parse rejects, is an error.
func Arg[T any](d *caddyfile.Dispenser, dst *T, parse func(string) (T, error)) error {
	option := d.Val()
	if !d.NextArg() {
		return d.Errf("%s: expected a value", option)
	}
	if err := Value(d, option, dst, parse); err != nil {
		return err
	}
	return End(d)
}

// Value parses the current token into dst; what names it in an error.
func Value[T any](d *caddyfile.Dispenser, what string, dst *T, parse func(string) (T, error)) error {
	v, err := parse(d.Val())
	if err != nil {
		return d.Errf("%s: %v", what, err)
	}
	*dst = v
	return nil
}

// Args appends the option's arguments to dst, of which there must be at least one.
func Args[T any](d *caddyfile.Dispenser, dst *[]T, parse func(string) (T, error)) error {
	option := d.Val()
	if d.CountRemainingArgs() == 0 {
		return d.Errf("%s: expected at least one value", option)
	}
	for d.NextArg() {
		var v T
		if err := Value(d, option, &v, parse); err != nil {
			return err
		}
		*dst = append(*dst, v)
	}
	return nil
}

// Flag sets dst for an option that takes no argument.
func Flag(d *caddyfile.Dispenser, dst *bool) error {
	*dst = true
	return End(d)
}

// End is an error if an argument is left on the line.
func End(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q", d.Val())
	}
	return nil
}

// NoBlock is an error if a block follows.
func NoBlock(d *caddyfile.Dispenser) error {
	if d.NextBlock(d.Nesting()) {
		return d.Errf("expected no block, found %q", d.Val())
	}
	return nil
}

func words[V any](m map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}
