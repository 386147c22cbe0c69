// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package loki

import (
	"bytes"
	"unicode/utf8"
)

// appendString appends a JSON string (RFC 8259, section 7). Bytes that are not UTF-8 are replaced. Lines are full of quotes,
// and encoding/json, which would also need a copy of each, is several times slower.
func appendString(dst, s []byte) []byte {
	if !utf8.Valid(s) {
		s = bytes.ToValidUTF8(s, []byte(string(utf8.RuneError)))
	}
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	begin := 0
	for i, c := range s {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[begin:i]...)
		begin = i + 1
		if c < ' ' {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, '\\', c)
		}
	}
	return append(append(dst, s[begin:]...), '"')
}
