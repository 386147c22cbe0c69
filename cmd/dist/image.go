// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// image writes the folder that an image is built from: the Dockerfile and all that it copies, with the binary of each
// architecture of Linux.
func (r *release) image(c contents, binaries map[target]binary) error {
	t := tree{
		"LICENSE":              {0o644, c.license},
		"THIRD_PARTY_LICENSES": {0o644, c.licenses},
		// An empty folder would not be copied, and the proxy cannot make one in a folder of root's.
		"state/README": {0o644, []byte("Certificates, bans and spools of the proxy are in this folder.\n")},
	}
	for _, name := range []string{"Dockerfile", "Caddyfile", "passwd", "group"} {
		t[name] = entry{0o644, file(name)}
	}
	forLinux := false
	for _, b := range binaries {
		if b.target.os == "linux" {
			t[path.Join(b.target.arch, "gatehouse")] = entry{0o755, b.data}
			forLinux = true
		}
	}
	if !forLinux {
		return nil
	}
	var err error
	if t["ca-certificates.crt"], err = authorities(); err != nil {
		return err
	}
	for name, e := range t {
		file := filepath.Join(r.out, "image", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, e.data, 0o600); err != nil {
			return err
		}
		// The image's user is nobody here: the file mode mask of this shell must not keep it out.
		if err := os.Chmod(file, os.FileMode(e.mode)); err != nil {
			return err
		}
	}
	fmt.Fprintln(r.progress, filepath.Join(r.out, "image")+string(filepath.Separator))
	return nil
}

// authorities are the certificates that this machine trusts: an image of nothing has none, and the proxy needs them for
// applications behind https:// and to get certificates.
func authorities() (entry, error) {
	places := []string{os.Getenv("SSL_CERT_FILE"), "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}
	for _, place := range places {
		data, err := os.ReadFile(place)
		if err == nil {
			return entry{0o644, data}, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return entry{}, err
		}
	}
	return entry{}, errors.New("this machine has no file of certificate authorities; install ca-certificates, or name one in SSL_CERT_FILE")
}

// checksums writes what `sha256sum -c` reads, of all files but those of the image.
func (r *release) checksums() error {
	var lines strings.Builder
	for _, name := range r.made {
		f, err := os.Open(filepath.Join(r.out, name))
		if err != nil {
			return err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		fmt.Fprintf(&lines, "%x  %s\n", sum.Sum(nil), name)
	}
	return r.write("SHA256SUMS", func(w io.Writer) error {
		_, err := io.WriteString(w, lines.String())
		return err
	})
}
