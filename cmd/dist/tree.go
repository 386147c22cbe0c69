// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// tree is the files of an archive by their paths, which have slashes and are relative.
type tree map[string]entry

// entry is a file. Its owner is root, its time the release's.
type entry struct {
	mode int64
	data []byte
}

// add takes files of another tree into a folder.
func (t tree) add(folder string, other tree) {
	for name, e := range other {
		t[path.Join(folder, name)] = e
	}
}

// under puts all of it into one folder, as an archive should that is unpacked where the user stands.
func (t tree) under(folder string) tree {
	all := tree{}
	all.add(folder, t)
	return all
}

// gz compresses a file as Debian has it: with .gz behind its name.
func (t tree) gz(name string, data []byte) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	_, err = z.Write(data)
	if err := errors.Join(err, z.Close()); err != nil {
		return fmt.Errorf("compressing %s: %w", name, err)
	}
	t[name+".gz"] = entry{0o644, b.Bytes()}
	return nil
}

// folders are the parents of all files, each before what is in it.
func (t tree) folders() []string {
	found := map[string]bool{}
	for name := range t {
		for at := path.Dir(name); at != "."; at = path.Dir(at) {
			found[at] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// tarGz writes an archive in which nothing but the files and epoch counts. Each name begins with prefix.
func (t tree) tarGz(w io.Writer, prefix string, epoch time.Time) error {
	z, err := gzip.NewWriterLevel(w, gzip.DefaultCompression)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(z)
	for _, name := range t.folders() {
		header := tar.Header{
			Typeflag: tar.TypeDir, Name: prefix + name + "/", Mode: 0o755, ModTime: epoch, Uname: "root", Gname: "root",
			Format: tar.FormatGNU,
		}
		if err := archive.WriteHeader(&header); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		e := t[name]
		header := tar.Header{
			Typeflag: tar.TypeReg, Name: prefix + name, Mode: e.mode, Size: int64(len(e.data)), ModTime: epoch, Uname: "root", Gname: "root",
			Format: tar.FormatGNU,
		}
		if err := archive.WriteHeader(&header); err != nil {
			return err
		}
		if _, err := archive.Write(e.data); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), z.Close())
}

// read takes the files of a folder, and of those below it, that keep accepts.
func read(folder string, keep func(name string) bool) (tree, error) {
	found := tree{}
	err := filepath.WalkDir(folder, func(file string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, file)
		if err != nil || !keep(filepath.ToSlash(name)) {
			return err
		}
		data, err := os.ReadFile(file)
		found[filepath.ToSlash(name)] = entry{0o644, data}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", folder, err)
	}
	return found, nil
}
