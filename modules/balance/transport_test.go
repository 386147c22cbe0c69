// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// TestEveryTransportInterfaceIsForwarded reads Caddy's source for what it asks of a handler's transport by type assertion.
// A version of Caddy that asks for more fails it: add the method to transport.go and the interface here.
func TestEveryTransportInterfaceIsForwarded(t *testing.T) {
	forwarded := map[string]reflect.Type{
		"ProxyProtocolTransport":              reflect.TypeFor[reverseproxy.ProxyProtocolTransport](),
		"HealthCheckSchemeOverriderTransport": reflect.TypeFor[reverseproxy.HealthCheckSchemeOverriderTransport](),
		"RequestHeaderOpsTransport":           reflect.TypeFor[reverseproxy.RequestHeaderOpsTransport](),
		"ContentLengthRequiredTransport":      reflect.TypeFor[reverseproxy.ContentLengthRequiredTransport](),
		"BufferedTransport":                   reflect.TypeFor[reverseproxy.BufferedTransport](),
		"TLSTransport":                        reflect.TypeFor[reverseproxy.TLSTransport](),
		"H2CTransport":                        reflect.TypeFor[reverseproxy.H2CTransport](),
	}
	asserted := assertions(t, "modules/caddyhttp", "transport")
	for name, where := range asserted {
		iface, known := forwarded[name]
		if !known {
			t.Errorf("%s asks a transport for %s, which the observer does not forward", where, name)
		} else if !reflect.TypeFor[*observer]().Implements(iface) {
			t.Errorf("the observer does not implement %s, which %s asks for", name, where)
		}
	}
	for name := range forwarded {
		if _, ok := asserted[name]; !ok {
			t.Errorf("Caddy does not ask for %s any more; is the search still right?", name)
		}
	}
}

// TestEveryBodyInterfaceIsKept does the same for the response body, which attempts stand in for.
func TestEveryBodyInterfaceIsKept(t *testing.T) {
	kept := []string{
		"io.ReadWriteCloser",              // openTunnel
		"interface{ CloseWrite() error }", // halfTunnel
		"bodyReadCloser",                  // Caddy's own, which it wraps around ours
	}
	asserted := map[string]string{}
	for _, name := range []string{"body", "backend", "backconn"} {
		maps.Copy(asserted, assertions(t, "modules/caddyhttp/reverseproxy", name))
	}
	for name, where := range asserted {
		if !slices.Contains(kept, name) {
			t.Errorf("%s asks a body for %s, which attempts hide", where, name)
		}
	}
	for _, name := range kept[:2] {
		if asserted[name] == "" {
			t.Errorf("Caddy does not ask for %s any more; is the search still right?", name)
		}
	}
}

// assertions returns the types that Caddy's source asserts on variables and fields of a name, with a place for each.
func assertions(t *testing.T, folder, variable string) map[string]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/caddyserver/caddy/v2").Output()
	if err != nil {
		t.Fatalf("finding Caddy's source: %v", err)
	}
	found := map[string]string{}
	root := filepath.Join(strings.TrimSpace(string(out)), folder)
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeAssertExpr:
				if n.Type != nil && strings.EqualFold(lastName(n.X), variable) {
					found[typeName(n.Type)] = files.Position(n.Pos()).String()
				}
			case *ast.TypeSwitchStmt:
				if switched(n, variable) {
					for _, clause := range n.Body.List {
						for _, typ := range clause.(*ast.CaseClause).List {
							found[typeName(typ)] = files.Position(typ.Pos()).String()
						}
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// switched reports whether the statement is a type switch on a variable of that name.
func switched(s *ast.TypeSwitchStmt, variable string) bool {
	found := false
	ast.Inspect(s.Assign, func(n ast.Node) bool {
		if a, ok := n.(*ast.TypeAssertExpr); ok && strings.EqualFold(lastName(a.X), variable) {
			found = true
		}
		return true
	})
	return found
}

// lastName returns the name of a variable, or of the field at the end of a selector.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		if pkg := lastName(e.X); pkg != "reverseproxy" {
			return pkg + "." + e.Sel.Name
		}
		return e.Sel.Name
	case *ast.StarExpr:
		return "*" + typeName(e.X)
	case *ast.InterfaceType:
		var methods []string
		for _, m := range e.Methods.List {
			methods = append(methods, m.Names[0].Name+"() error")
		}
		return "interface{ " + strings.Join(methods, "; ") + " }"
	}
	return fmt.Sprintf("%T", e)
}

// fullTransport has all of the interfaces, bareTransport none.
type (
	bareTransport struct{}
	fullTransport struct {
		bareTransport
		tls, h2c bool
	}
)

func (bareTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("unused")
}
func (*fullTransport) ProxyProtocolEnabled() bool                     { return true }
func (*fullTransport) OverrideHealthCheckScheme(u *url.URL, p string) { u.Scheme = "x" + p }
func (*fullTransport) RequestHeaderOps() *headers.HeaderOps           { return &headers.HeaderOps{} }
func (*fullTransport) RequiresContentLength() bool                    { return true }
func (*fullTransport) DefaultBufferSizes() (int64, int64)             { return 1, 2 }
func (f *fullTransport) TLSEnabled() bool                             { return f.tls }
func (f *fullTransport) EnableTLS(*reverseproxy.TLSConfig) error      { f.tls = true; return nil }
func (f *fullTransport) EnableH2C() error                             { f.h2c = true; return nil }

func TestForwarding(t *testing.T) {
	inner := new(fullTransport)
	full := newObserver(&reverseproxy.Handler{Transport: inner}, newRegistry())
	bare := newObserver(&reverseproxy.Handler{Transport: bareTransport{}}, newRegistry())
	if !full.ProxyProtocolEnabled() || bare.ProxyProtocolEnabled() {
		t.Error("ProxyProtocolEnabled is not passed on")
	}
	if !full.RequiresContentLength() || bare.RequiresContentLength() {
		t.Error("RequiresContentLength is not passed on")
	}
	if full.RequestHeaderOps() == nil || bare.RequestHeaderOps() != nil {
		t.Error("RequestHeaderOps is not passed on")
	}
	u, same := &url.URL{Scheme: "http"}, &url.URL{Scheme: "http"}
	full.OverrideHealthCheckScheme(u, "443")
	bare.OverrideHealthCheckScheme(same, "443")
	if u.Scheme != "x443" || same.Scheme != "http" {
		t.Error("OverrideHealthCheckScheme is not passed on")
	}
	if a, b := full.DefaultBufferSizes(); a != 1 || b != 2 {
		t.Error("DefaultBufferSizes is not passed on")
	}
	if a, b := bare.DefaultBufferSizes(); a != 0 || b != 0 {
		t.Error("a transport without buffers gets some")
	}
	if err := full.EnableTLS(nil); err != nil || !full.TLSEnabled() || bare.TLSEnabled() || bare.EnableTLS(nil) == nil {
		t.Error("TLS is not passed on")
	}
	if err := full.EnableH2C(); err != nil || !inner.h2c || bare.EnableH2C() == nil {
		t.Error("h2c is not passed on")
	}
}
