// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func squeezed(t *testing.T, text string) string {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return string(z.EncodeAll([]byte(text), nil))
}

func TestIngest(t *testing.T) {
	long := strings.Repeat("x", 100_000) // more than a read buffer
	whole, zstandard := zipped(t, "a\nb\nc\n"), squeezed(t, "a\nb\nc\n")
	for _, test := range []struct {
		name, encoding, body string
		status               int
		want                 Ingested
	}{
		{"empty", "", "", 204, Ingested{Batches: 1}},
		{"one line", "", "a\n", 204, Ingested{Batches: 1, Lines: 1, Bytes: 2, Distinct: 1}},
		{"no last line end", "identity", "a\nb", 204, Ingested{Batches: 1, Lines: 2, Bytes: 3, Distinct: 2}},
		{"line end or not", "", "a\nb\na", 204, Ingested{Batches: 1, Lines: 3, Bytes: 5, Distinct: 2}},
		{"empty lines", "", "\n\n", 204, Ingested{Batches: 1, Lines: 2, Bytes: 2, Distinct: 1}},
		{
			"long lines", "", long + "\n" + long + "y\n" + long + "\n", 204,
			Ingested{Batches: 1, Lines: 3, Bytes: 300_004, Distinct: 2},
		},
		{"gzip", "GZIP", whole, 204, Ingested{Batches: 1, Lines: 3, Bytes: 6, Distinct: 3}},
		{"cut gzip", "gzip", whole[:len(whole)-4], 400, Ingested{Refused: 1}},
		{"not gzip", "gzip", "a\n", 400, Ingested{Refused: 1}},
		{"bomb", "gzip", zipped(t, strings.Repeat("x", 2<<20)), 413, Ingested{Refused: 1}},
		{"zstd", "zstd", zstandard, 204, Ingested{Batches: 1, Lines: 3, Bytes: 6, Distinct: 3}},
		{"cut zstd", "zstd", zstandard[:len(zstandard)-4], 400, Ingested{Refused: 1}},
		{"not zstd", "zstd", "a\n", 400, Ingested{Refused: 1}},
		{"zstd bomb", "zstd", squeezed(t, strings.Repeat("x", 2<<20)), 413, Ingested{Refused: 1}},
		{"another coding", "br", "a\n", 415, Ingested{Refused: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newListener(t, Options{MaxBody: 1 << 20}, Settings{})
			w := do(t, l, "POST", "/ingest", test.body, "Content-Encoding", test.encoding)
			wantStatus(t, w, test.status)
			w = do(t, l, "GET", "/ingest", "")
			wantStatus(t, w, http.StatusOK)
			if got := decode[Ingested](t, w.Body); got != test.want {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestIngestTooManyLines(t *testing.T) {
	l := newListener(t, Options{}, Settings{})
	wantStatus(t, do(t, l, "POST", "/ingest", strings.Repeat("\n", maxBatchLines)), http.StatusNoContent)
	wantStatus(t, do(t, l, "POST", "/ingest", strings.Repeat("\n", maxBatchLines+1)), http.StatusRequestEntityTooLarge)
	if got, want := l.App().Ingested().Lines, int64(maxBatchLines); got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
}

func TestIngestSumsAndForgets(t *testing.T) {
	l := newListener(t, Options{MaxLines: 3}, Settings{})
	for _, body := range []string{"a\nb\n", "b\nc\n", "c\nd\na\n"} {
		wantStatus(t, do(t, l, "POST", "/ingest", body), http.StatusNoContent)
	}
	want := Ingested{Batches: 3, Lines: 7, Bytes: 14, Distinct: 3, DistinctFull: true}
	if got := l.App().Ingested(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	wantStatus(t, do(t, l, "DELETE", "/ingest", ""), http.StatusNoContent)
	if got := l.App().Ingested(); got != (Ingested{}) {
		t.Errorf("after DELETE: %+v", got)
	}
}
