// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-proxy/gatehouse/modules/clientaddr"
)

const (
	// defaultKey is the client's address.
	defaultKey = "{client_ip}"
	// maxKey bounds a key, in bytes; of a longer one the SHA-256 sum is the key.
	maxKey = 256
	// noClient is the key of clients without an address, as on a Unix socket: they are one client.
	noClient = "-"
)

// key makes a request's key of a template.
type key struct {
	template string // with the client's address always written as defaultKey
	parts    []keyPart
	bits     int // of an IPv6 address that make a client
}

// keyPart is the client's address, text with placeholders, or text without.
type keyPart struct {
	text                 string
	client, placeholders bool
}

// newKey parses a template. The client's address may stand anywhere in it.
func newKey(template string, ipv6Prefix int) *key {
	template = strings.ReplaceAll(template, "{http.vars.client_ip}", defaultKey) // what a Caddyfile's {client_ip} becomes
	k := &key{template: template, bits: ipv6Prefix}
	for i, text := range strings.Split(template, defaultKey) {
		if i > 0 {
			k.parts = append(k.parts, keyPart{client: true})
		}
		if text != "" {
			k.parts = append(k.parts, keyPart{text: text, placeholders: strings.Contains(text, "{")})
		}
	}
	return k
}

// appendTo appends the request's key. Where it is empty, as a header that is not there, the client's address takes its
// place, so that nobody gets around the limit by leaving something out.
func (k *key) appendTo(buf []byte, r *http.Request) []byte {
	for _, part := range k.parts {
		switch {
		case part.client:
			buf = k.appendClient(buf, r)
		case part.placeholders:
			repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
			if repl != nil {
				buf = append(buf, repl.ReplaceAll(part.text, "")...)
			}
		default:
			buf = append(buf, part.text...)
		}
	}
	if len(buf) == 0 {
		buf = k.appendClient(buf, r)
	}
	return shorten(buf)
}

// shorten puts a sum in the place of a key that is too long.
func shorten(buf []byte) []byte {
	if len(buf) <= maxKey {
		return buf
	}
	sum := sha256.Sum256(buf)
	return hex.AppendEncode(append(buf[:0], "sha256:"...), sum[:])
}

// appendClient appends the client's address.
func (k *key) appendClient(buf []byte, r *http.Request) []byte {
	addr, ok := clientaddr.Of(r)
	if !ok {
		return append(buf, noClient...)
	}
	return k.appendAddr(buf, addr)
}

// appendAddr appends an address, or the network that stands for it.
func (k *key) appendAddr(buf []byte, addr netip.Addr) []byte {
	if addr.Is4() || k.bits == 128 {
		return addr.AppendTo(buf)
	}
	prefix, err := addr.Prefix(k.bits)
	if err != nil { // cannot be: the bits are checked
		return addr.AppendTo(buf)
	}
	return prefix.AppendTo(buf)
}

// onlyClient reports whether the key is nothing but the client's address.
func (k *key) onlyClient() bool { return len(k.parts) == 1 && k.parts[0].client }

// named turns what an operator calls a key into the key: an address, where the key is one, may be written in any way.
func (k *key) named(text string) ([]byte, error) {
	if !k.onlyClient() || text == noClient {
		return shorten([]byte(text)), nil
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		return k.appendAddr(nil, addr.Unmap().WithZone("")), nil
	}
	if prefix, err := netip.ParsePrefix(text); err == nil && prefix.Addr().Is6() && prefix.Bits() == k.bits {
		return prefix.Masked().AppendTo(nil), nil
	}
	return nil, fmt.Errorf("expected an address, or the /%d of one in IPv6, found %q", k.bits, text)
}
