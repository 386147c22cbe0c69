// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"
)

// bill writes what a binary was made of, as the linker noted it in the binary: the text that `go version -m` prints, and the
// same as CycloneDX 1.5 for tools that compare it with lists of vulnerabilities.
func (r *release) bill(b binary) error {
	name := fmt.Sprintf("gatehouse_%s_%s_%s.sbom", r.version, b.target.os, b.target.arch)
	err := r.write(name+".txt", func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "gatehouse: %s\n%s", b.info.GoVersion, strings.TrimPrefix(b.info.String(), "go\t"+b.info.GoVersion+"\n"))
		return err
	})
	if err != nil {
		return err
	}
	return r.write(name+".cdx.json", func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(cycloneDX(r.version, r.epoch, b))
	})
}

// bom is the part of CycloneDX that is used. It has no serial number, which would differ from build to build.
type bom struct {
	Format     string      `json:"bomFormat"`
	Spec       string      `json:"specVersion"`
	Version    int         `json:"version"`
	Metadata   metadata    `json:"metadata"`
	Components []component `json:"components"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Reference  string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	URL        string     `json:"purl"`
	Properties []property `json:"properties,omitempty"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func cycloneDX(version string, epoch time.Time, b binary) bom {
	proxy := moduleComponent("application", b.info.Main.Path, version)
	for _, s := range b.info.Settings {
		proxy.Properties = append(proxy.Properties, property{"go:build:" + s.Key, s.Value})
	}
	all := bom{
		Format: "CycloneDX", Spec: "1.5", Version: 1,
		Metadata:   metadata{Timestamp: epoch.Format(time.RFC3339), Component: proxy},
		Components: []component{moduleComponent("library", "std", strings.TrimPrefix(b.info.GoVersion, "go"))},
	}
	for _, m := range modules(map[target]binary{b.target: b}) {
		all.Components = append(all.Components, libraryComponent(m))
	}
	return all
}

// libraryComponent keeps the module's checksum of go.sum, which is a hash of a list of files and no file's own.
func libraryComponent(m debug.Module) component {
	c := moduleComponent("library", m.Path, m.Version)
	if m.Sum != "" {
		c.Properties = []property{{"go:sum", m.Sum}}
	}
	return c
}

func moduleComponent(kind, path, version string) component {
	url := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	return component{Type: kind, Reference: url, Name: path, Version: version, URL: url}
}
