// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestLayoutEveryNameIsDocumented keeps a doc comment on every exported name and every JSON field of modules/ and
// plugins/: the configuration structs are the manual.
func TestLayoutEveryNameIsDocumented(t *testing.T) {
	seen := 0
	for _, folder := range []string{"modules", "plugins"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			seen++
			for _, missing := range undocumented(set, file) {
				t.Errorf("%s has no doc comment", strings.TrimPrefix(missing, root+"/"))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 10 {
		t.Fatalf("only %d files were read", seen)
	}
}

// The check must be able to fail.
func TestLayoutUndocumented(t *testing.T) {
	const source = `package p
func Exported() {}
func (T) CaddyModule() {}
func (T) Method() {}
type T struct {
	A int ` + "`json:\"a\"`" + `
	// B is documented.
	B int ` + "`json:\"b\"`" + `
	c int
}
const X = 1
`
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "p.go", source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, missing := range undocumented(set, file) {
		names = append(names, missing[strings.LastIndex(missing, " ")+1:])
	}
	if got := strings.Join(names, " "); got != "Exported Method T T.A X" {
		t.Fatalf("found %q", got)
	}
}

// undocumented lists the exported declarations and JSON fields without a comment, with their positions.
func undocumented(set *token.FileSet, file *ast.File) (missing []string) {
	report := func(pos token.Pos, name string) {
		p := set.Position(pos)
		missing = append(missing, p.Filename+":"+strconv.Itoa(p.Line)+" "+name)
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
				report(d.Pos(), d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				checkSpec(d, spec, report)
			}
		}
	}
	return missing
}

// exportedReceiver reports whether a function's comment would be read: methods of unexported types are not.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported() && d.Name.Name != "CaddyModule" // which says the same everywhere
		default:
			return true
		}
	}
}

func checkSpec(d *ast.GenDecl, spec ast.Spec, report func(token.Pos, string)) {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
			report(s.Pos(), s.Name.Name)
		}
		if fields, ok := s.Type.(*ast.StructType); ok {
			checkFields(s.Name.Name, fields, report)
		}
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
				report(name.Pos(), name.Name)
			}
		}
	}
}

// checkFields wants a comment on every field that JSON reads or writes, also of unexported types: they are an API too.
func checkFields(owner string, fields *ast.StructType, report func(token.Pos, string)) {
	for _, field := range fields.Fields.List {
		if field.Tag == nil || !strings.Contains(field.Tag.Value, "json:") || strings.Contains(field.Tag.Value, `json:"-"`) {
			continue
		}
		if field.Doc == nil && field.Comment == nil {
			for _, name := range field.Names {
				report(field.Pos(), owner+"."+name.Name)
			}
		}
	}
}
