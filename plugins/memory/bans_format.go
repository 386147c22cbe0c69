// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
)

// A snapshot is text: a header with the format's version, the number of bans and the CRC-32 (IEEE) of what follows; then a
// line for each ban (ipban.Ban.AppendLine).
const snapshotHeader = "gatehouse-bans 1 %d %08x\n"

func encodeSnapshot(bans []ipban.Ban) []byte {
	var body []byte
	for _, b := range bans {
		body = append(b.AppendLine(body), '\n')
	}
	return append(fmt.Appendf(nil, snapshotHeader, len(bans), crc32.ChecksumIEEE(body)), body...)
}

func decodeSnapshot(text []byte) ([]ipban.Ban, error) {
	header, body, _ := bytes.Cut(text, []byte("\n"))
	var n int
	var sum uint32
	if _, err := fmt.Sscanf(string(header)+"\n", snapshotHeader, &n, &sum); err != nil {
		return nil, fmt.Errorf("reading its header: %w", err)
	}
	if got := crc32.ChecksumIEEE(body); got != sum {
		return nil, fmt.Errorf("its checksum is %08x, expected %08x", got, sum)
	}
	var lines []string
	if len(body) > 0 {
		lines = strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	}
	if len(lines) != n {
		return nil, fmt.Errorf("it has %d bans, expected %d", len(lines), n)
	}
	bans := make([]ipban.Ban, n)
	for i, line := range lines {
		var err error
		if bans[i], err = ipban.ParseLine(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+2, err)
		}
	}
	return bans, nil
}
