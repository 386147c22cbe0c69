// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package spool_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/logship/spool"
)

// line is of the length of an access log's, 650 bytes.
var line = bytes.Repeat([]byte("0123456789"), 65)

func plenty() spool.Options {
	return spool.Options{Segment: 16 << 20, MaxSize: 256 << 20, Sync: time.Second}
}

func BenchmarkAppend(b *testing.B) {
	for _, unmapped := range []bool{false, true} {
		b.Run(fmt.Sprintf("unmapped=%v", unmapped), func(b *testing.B) {
			options := plenty()
			options.Unmapped = unmapped
			s := open(b, b.TempDir(), options)
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_ = s.Append(line)
				}
			})
		})
	}
}

// BenchmarkAppendPaced adds 40,000 lines/s from four goroutines, as requests would, and reports what each line waited; and what
// the benchmark's own reading of the clock takes, which is part of that.
func BenchmarkAppendPaced(b *testing.B) {
	const rate, writers = 40_000, 4
	seconds := 10
	if text := os.Getenv("PACED_SECONDS"); text != "" {
		seconds, _ = strconv.Atoi(text)
	}
	s := open(b, b.TempDir(), plenty())
	var paced sync.WaitGroup
	all, floors := make([][]time.Duration, writers), make([][]time.Duration, writers)
	for w := range writers {
		all[w], floors[w] = make([]time.Duration, 0, rate/writers*seconds), make([]time.Duration, 0, rate/writers*seconds)
		paced.Go(func() { all[w], floors[w] = appendPaced(s, all[w], floors[w], rate/writers) })
	}
	paced.Wait()
	reportWaits(b, "", slices.Concat(all...))
	reportWaits(b, "clock-", slices.Concat(floors...))
	b.ReportMetric(0, "ns/op")
}

func reportWaits(b *testing.B, prefix string, waits []time.Duration) {
	slices.Sort(waits)
	for _, q := range []float64{50, 99, 99.9, 99.99} {
		b.ReportMetric(float64(waits[int(q/100*float64(len(waits)-1))].Nanoseconds()), fmt.Sprintf("%sp%v-ns", prefix, q))
	}
}

// appendPaced adds as many lines as waits has room for, in bursts of a millisecond, and reads the clock as often for nothing.
func appendPaced(s *spool.Spool, waits, floor []time.Duration, rate int) (lines, clock []time.Duration) {
	begun := time.Now()
	for len(waits) < cap(waits) {
		due := int(time.Since(begun).Seconds() * float64(rate))
		for len(waits) < min(due, cap(waits)) {
			before := time.Now()
			_ = s.Append(line)
			waits = append(waits, time.Since(before))
			before = time.Now()
			floor = append(floor, time.Since(before))
		}
		time.Sleep(time.Millisecond)
	}
	return waits, floor
}

func BenchmarkRead(b *testing.B) {
	options := plenty()
	options.MaxSize = 2 << 30
	s := open(b, b.TempDir(), options)
	c := cursor(b, s)
	const lines = 200_000
	for b.Loop() {
		b.StopTimer()
		for range lines {
			_ = s.Append(line)
		}
		b.StartTimer()
		for {
			chunk, err := c.Read(5000, 1<<20)
			if err != nil {
				b.Fatal(err)
			}
			if chunk == nil {
				break
			}
			if err := c.Commit(chunk, uint64(len(chunk.Lines)), 0); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N)*lines/b.Elapsed().Seconds(), "lines/s")
}

// BenchmarkReopen opens a spool of REOPEN_GIB (1 if not set) that a crash has left, with a cursor in its middle.
func BenchmarkReopen(b *testing.B) {
	gib := 1
	if text := os.Getenv("REOPEN_GIB"); text != "" {
		gib, _ = strconv.Atoi(text)
	}
	dir := filepath.Join(b.TempDir(), "spool")
	options := plenty()
	options.MaxSize = int64(gib+1) << 30
	s, _, err := spool.Open(dir, options, "a")
	if err != nil {
		b.Fatal(err)
	}
	for range int64(gib) << 30 / 680 {
		if err := s.Append(line); err != nil {
			b.Fatal(err)
		}
	}
	size := s.Status().Size
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		s, _, err := spool.Open(dir, options, "a")
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(size)/(1<<30), "GiB")
}
