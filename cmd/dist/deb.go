// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/md5" //nolint:gosec // the format's own checksum, by which dpkg finds changed files
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pkg is a Debian package (deb(5)): an ar archive of a version, a tar.gz of what dpkg wants to know, and one of the files.
type pkg struct {
	version, arch string
	tree          tree
	epoch         time.Time
}

// described is what `git describe` says of a commit after a release.
var described = regexp.MustCompile(`-(\d+)-g([0-9a-f]+)`)

// debianVersion makes a version that dpkg sorts: a pre-release before its release, a commit after it, and one of which no
// release is known before all of them.
func debianVersion(v string) string {
	released := regexp.MustCompile(`^v?\d+\.\d+`).MatchString(v)
	v = described.ReplaceAllString(strings.TrimPrefix(v, "v"), "+$1.g$2")
	v = strings.Replace(v, "-dirty", "+dirty", 1)
	v = strings.ReplaceAll(v, "-", "~")
	if !released {
		return "0~" + v
	}
	return v
}

// debianArchitecture is Debian's word for Go's.
func debianArchitecture(arch string) string {
	switch arch {
	case "386":
		return "i386"
	case "arm":
		return "armhf"
	default:
		return arch
	}
}

// debian is what a package installs.
func (c *contents) debian(b binary) tree {
	const doc = "usr/share/doc/gatehouse"
	t := tree{
		"usr/bin/gatehouse":                        {0o755, b.data},
		"usr/lib/systemd/system/gatehouse.service": {0o644, file("gatehouse.service")},
		"etc/gatehouse/Caddyfile":                  {0o644, file("Caddyfile")},
		doc + "/copyright":                         {0o644, file("copyright")},
		doc + "/README.md":                         {0o644, c.readme},
		"usr/share/lintian/overrides/gatehouse":    {0o644, file("lintian-overrides")},
	}
	t.add(doc+"/docs", c.docs)
	t.add(doc+"/caddyfiles", c.examples)
	for shell, where := range helped() {
		t[where] = entry{0o644, c.completions[shell]}
	}
	compressed := map[string][]byte{
		doc + "/THIRD_PARTY_LICENSES": c.licenses,
		doc + "/changelog":            c.changelog(),
	}
	for name, e := range c.manual {
		compressed[path.Join("usr/share/man/man8", name)] = e.data
	}
	for name, data := range compressed {
		if err := t.gz(name, data); err != nil {
			panic(fmt.Sprintf("BUG: compressing in memory: %v", err))
		}
	}
	return t
}

// changelog is the one entry that Debian asks for.
func (c *contents) changelog() []byte {
	return fmt.Appendf(nil, "gatehouse (%s) unstable; urgency=medium\n\n  * Version %s.\n\n"+
		" -- The Gatehouse Authors <gatehouse-proxy@users.noreply.github.com>  %s\n",
		debianVersion(c.r.version), c.r.version, c.r.epoch.Format(time.RFC1123Z))
}

func (p pkg) write(w io.Writer) error {
	var control, data bytes.Buffer
	if err := p.control().tarGz(&control, "./", p.epoch); err != nil {
		return fmt.Errorf("writing control.tar.gz: %w", err)
	}
	if err := p.tree.tarGz(&data, "./", p.epoch); err != nil {
		return fmt.Errorf("writing data.tar.gz: %w", err)
	}
	if _, err := io.WriteString(w, "!<arch>\n"); err != nil {
		return err
	}
	for _, member := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", control.Bytes()}, {"data.tar.gz", data.Bytes()}} {
		if err := p.member(w, member.name, member.data); err != nil {
			return err
		}
	}
	return nil
}

// member writes a file of an ar archive: a header of 60 bytes and, to an even length, the data.
func (p pkg) member(w io.Writer, name string, data []byte) error {
	if _, err := fmt.Fprintf(w, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, p.epoch.Unix(), 0, 0, "100644", len(data)); err != nil {
		return err
	}
	if len(data)%2 == 1 {
		data = append(data, '\n')
	}
	_, err := w.Write(data)
	return err
}

// control is what dpkg wants to know.
func (p pkg) control() tree {
	size, sums, conffiles := 0, "", ""
	for _, name := range slices.Sorted(maps.Keys(p.tree)) {
		data := p.tree[name].data
		size += (len(data) + 1023) / 1024
		if strings.HasPrefix(name, "etc/") {
			conffiles += "/" + name + "\n"
			continue
		}
		sums += fmt.Sprintf("%x  %s\n", md5.Sum(data), name)
	}
	text := strings.NewReplacer("VERSION", p.version, "ARCHITECTURE", p.arch, "SIZE", strconv.Itoa(size)).
		Replace(string(file("control")))
	return tree{
		"control":   {0o644, []byte(text)},
		"conffiles": {0o644, []byte(conffiles)},
		"md5sums":   {0o644, []byte(sums)},
		"postinst":  {0o755, file("postinst")},
		"prerm":     {0o755, file("prerm")},
		"postrm":    {0o755, file("postrm")},
	}
}
