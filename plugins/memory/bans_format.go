// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
)

// A snapshot is text, which is read several times as quickly as JSON: a header with the format's version, the number of
// bans and the CRC-32 (IEEE) of what follows; then a line for each ban, its fields divided by tabs: prefix, when it
// was made and when it ends in milliseconds of Unix time (0 is never), source, reason and, where bans escalate, level and
// until when it is remembered. None of them holds a tab or a line break: ipban.Ban promises it.
const snapshotHeader = "gatehouse-bans 1 %d %08x\n"

func encodeSnapshot(bans []ipban.Ban) []byte {
	var body []byte
	for _, b := range bans {
		body = b.Prefix.AppendTo(body)
		body = strconv.AppendInt(append(body, '\t'), toMilli(b.Created), 10)
		body = strconv.AppendInt(append(body, '\t'), toMilli(b.Expires), 10)
		body = append(append(body, '\t'), b.Source...)
		body = append(append(body, '\t'), b.Reason...)
		if b.Level != 0 || !b.Remembered.IsZero() {
			body = strconv.AppendInt(append(body, '\t'), int64(b.Level), 10)
			body = strconv.AppendInt(append(body, '\t'), toMilli(b.Remembered), 10)
		}
		body = append(body, '\n')
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
		if bans[i], err = decodeBan(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+2, err)
		}
	}
	return bans, nil
}

func decodeBan(line string) (b ipban.Ban, err error) {
	var fields [5]string
	rest, more := line, true
	for i := range fields {
		if !more {
			return b, errors.New("a field is missing")
		}
		fields[i], rest, more = strings.Cut(rest, "\t")
	}
	if b.Prefix, err = netip.ParsePrefix(fields[0]); err != nil {
		return b, err
	}
	if b.Prefix != b.Prefix.Masked() {
		return b, fmt.Errorf("%s has bits beyond its length", b.Prefix)
	}
	if b.Created, err = fromMilli(fields[1]); err != nil {
		return b, err
	}
	b.Source, b.Reason = fields[3], fields[4]
	if b.Expires, err = fromMilli(fields[2]); err != nil || !more {
		return b, err
	}
	level, until, _ := strings.Cut(rest, "\t")
	if b.Level, err = strconv.Atoi(level); err != nil {
		return b, err
	}
	b.Remembered, err = fromMilli(until)
	return b, err
}

func toMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMilli(text string) (time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n == 0 {
		return time.Time{}, err
	}
	return time.UnixMilli(n).UTC(), nil
}
