// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

// maxCostSteps bounds the work of one evaluation.
const maxCostSteps = 10_000

// cost says how much a request counts: a number, or an expression in CEL in which placeholders stand for their values.
type cost struct {
	fixed        int64
	program      cel.Program
	placeholders []string
	invalid      atomic.Int64 // requests whose expression gave no cost
}

// placeholder finds {these}.
var placeholder = regexp.MustCompile(`\{([^{}\s"']+)\}`)

// newCost compiles an expression.
func newCost(text string) (*cost, error) {
	if text == "" {
		return &cost{fixed: 1}, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n < 0 || n > window.MaxLimit {
			return nil, fmt.Errorf("expected a whole number from 0 to %d or an expression, found %q", window.MaxLimit, text)
		}
		return &cost{fixed: n}, nil
	}
	c := &cost{}
	source := placeholder.ReplaceAllStringFunc(text, func(match string) string {
		c.placeholders = append(c.placeholders, match[1:len(match)-1])
		return fmt.Sprintf("p%d", len(c.placeholders)-1)
	})
	options := []cel.EnvOption{ext.Math(), ext.Strings()}
	for i := range c.placeholders {
		options = append(options, cel.Variable(fmt.Sprintf("p%d", i), cel.DynType))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("preparing the expression %q: %w", text, err)
	}
	compiled, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, fmt.Errorf("the expression %q: %w", text, issues.Err())
	}
	if t := compiled.OutputType(); !t.IsExactType(cel.IntType) && !t.IsExactType(cel.DynType) && !t.IsExactType(cel.DoubleType) {
		return nil, fmt.Errorf("the expression %q gives a %s, expected a number", text, t)
	}
	c.program, err = env.Program(compiled, cel.CostLimit(maxCostSteps))
	if err != nil {
		return nil, fmt.Errorf("the expression %q: %w", text, err)
	}
	return c, nil
}

// of returns what a request counts. An expression that fails or gives no number of at least zero counts as one: what a
// client sends must neither cost nothing nor give something back by mistake.
func (c *cost) of(r *http.Request) int64 {
	if c.program == nil {
		return c.fixed
	}
	n, ok := c.evaluate(r)
	if !ok {
		c.invalid.Add(1)
		return 1
	}
	return min(n, window.MaxLimit)
}

func (c *cost) evaluate(r *http.Request) (int64, bool) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return 0, false
	}
	values := make(map[string]any, len(c.placeholders))
	for i, name := range c.placeholders {
		value, _ := repl.GetString(name)
		values[fmt.Sprintf("p%d", i)] = number(value)
	}
	result, _, err := c.program.Eval(values)
	if err != nil {
		return 0, false
	}
	switch v := result.Value().(type) {
	case int64:
		return v, v >= 0
	case float64:
		return int64(math.Ceil(min(v, window.MaxLimit))), v >= 0 // NaN is not
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil && n >= 0
	}
	return 0, false
}

// number makes a placeholder's value a number if it reads as one.
func number(text string) any {
	text = strings.TrimSpace(text)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	return text
}
