// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/gatehouse-proxy/gatehouse/modules/ipban"
)

func TestSnapshotFormat(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	bans := []ipban.Ban{
		{Prefix: netip.MustParsePrefix(a), Reason: "password guessing: äöü", Source: "logins", Created: now, Expires: now.Add(time.Hour)},
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Created: now},
		{Prefix: netip.MustParsePrefix(b)},
		{Prefix: netip.MustParsePrefix("2001:db8::/64"), Reason: "again", Created: now, Expires: now, Level: 3, Remembered: now.Add(time.Hour)},
	}
	for n := range len(bans) + 1 {
		got, err := decodeSnapshot(encodeSnapshot(bans[:n]))
		if err != nil || !slices.Equal(got, bans[:n]) {
			t.Errorf("%d bans: got %v, %v", n, got, err)
		}
	}
}

// Whatever lies in the storage, reading it returns, and what it returns can be banned.
func FuzzDecodeSnapshot(f *testing.F) {
	f.Add([]byte("203.0.113.7/32\t1\t0\tlogins\tguessing\n"), 1)
	f.Add([]byte("\n\n"), 2)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, body []byte, n int) {
		// With a sound checksum, else nothing beyond it would be tried.
		text := append(fmt.Appendf(nil, snapshotHeader, n, crc32.ChecksumIEEE(body)), body...)
		bans, err := decodeSnapshot(text)
		if err != nil {
			return
		}
		for _, b := range bans {
			if !b.Prefix.IsValid() || b.Prefix != b.Prefix.Masked() {
				t.Fatalf("%q bans %s", text, b.Prefix)
			}
		}
		_, _ = decodeSnapshot(body)
	})
}

// BenchmarkLoad reads a snapshot of 100,000 bans, as a start does, and hands the list to the host.
func BenchmarkLoad(b *testing.B) {
	d, many := newDisk(), make([]ipban.Ban, 100_000)
	for i := range many {
		now := time.Now().UTC()
		many[i] = ipban.Ban{
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32),
			Reason: "password guessing", Source: "logins", Created: now, Expires: now.Add(24 * time.Hour),
		}
	}
	d.files[snapshotKey] = string(encodeSnapshot(many))
	for b.Loop() {
		list := newBanList()
		if err := list.load(b.Context(), d, zap.NewNop()); err != nil {
			b.Fatal(err)
		}
		if u := list.take(list.join()); len(u.Changes) != len(many) {
			b.Fatalf("%d bans", len(u.Changes))
		}
	}
	b.ReportMetric(float64(len(d.files[snapshotKey]))/float64(len(many)), "B/ban")
}
