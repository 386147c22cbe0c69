// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/respcache"
)

// versions is an origin whose answers tell what they are: each resource has variants and changes now and then, has its content from its
// entity tag, and is confirmed, ranged and sent with and without its length.
type versions [12]atomic.Int64

// content is the body of an entity tag: nothing, one block and several.
func content(etag string) []byte {
	var key, variant, version int
	_, _ = fmt.Sscanf(etag, `"%d-%d-%d"`, &key, &variant, &version)
	sizes := [...]int{0, 1, 700, 5000, 70_000, 600_000}
	return bytes.Repeat([]byte(etag), 1+sizes[key%len(sizes)]/max(1, len(etag)))[:sizes[key%len(sizes)]]
}

func (v *versions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var key int
	_, _ = fmt.Sscanf(r.URL.Path, "/%d", &key)
	if rand.IntN(20) == 0 {
		v[key].Add(1)
	}
	etag := fmt.Sprintf(`"%d-%s-%d"`, key, r.Header.Get("X-Variant"), v[key].Load())
	h := w.Header()
	h["Etag"] = []string{etag}
	h["Cache-Control"] = []string{"max-age=600"}
	h["Cache-Tag"] = []string{"all, few"}
	h["Vary"] = []string{"X-Variant"}
	h["Content-Type"] = []string{"application/octet-stream"}
	h["X-Lines"] = []string{etag, "", strings.Repeat(etag, rand.IntN(300)), etag}
	if len(content(etag)) == 0 {
		delete(r.Header, "Range") // net/http answers it with a part that is none
	}
	if key%2 == 0 || r.Header.Get("Range") != "" || r.Header.Get("If-None-Match") == etag || r.Method == http.MethodHead {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content(etag)))
		return
	}
	for piece := content(etag); len(piece) > 0; {
		n := min(len(piece), 1+rand.IntN(60_000))
		_, _ = w.Write(piece[:n])
		piece = piece[n:]
	}
}

// oneVersion reports what is wrong with an answer.
func oneVersion(w *httptest.ResponseRecorder, method string, key, variant int) error {
	etag, body := w.Header().Get("Etag"), w.Body.Bytes()
	if etag == "" && w.Code == http.StatusRequestedRangeNotSatisfiable { // of net/http
		return nil
	}
	want := content(etag)
	part := func(h string, got []byte) error {
		var first, last, total int
		if _, err := fmt.Sscanf(h, "bytes %d-%d/%d", &first, &last, &total); err != nil || total != len(want) || last >= total || first > last {
			return fmt.Errorf("Content-Range %q of %d bytes: %w", h, len(want), err)
		}
		if !bytes.Equal(got, want[first:last+1]) {
			return fmt.Errorf("other bytes for %q", h)
		}
		return nil
	}
	switch lines := w.Header()["X-Lines"]; {
	case !strings.HasPrefix(etag, fmt.Sprintf(`"%d-%d-`, key, variant)):
		return fmt.Errorf("it is %s", etag)
	case len(lines) != 4 || lines[0] != etag || lines[1] != "" || lines[3] != etag || strings.ReplaceAll(lines[2], etag, "") != "":
		return fmt.Errorf("with the lines %.200q", lines)
	case method == http.MethodHead || w.Code == http.StatusRequestedRangeNotSatisfiable || w.Code == http.StatusNotModified:
		if len(body) > 0 && w.Code != http.StatusRequestedRangeNotSatisfiable {
			return errors.New("it has a body")
		}
	case w.Code == http.StatusOK:
		if !bytes.Equal(body, want) {
			return fmt.Errorf("%d bytes of %d, or other ones", len(body), len(want))
		}
	case w.Code == http.StatusPartialContent && w.Header().Get("Content-Range") != "":
		return part(w.Header().Get("Content-Range"), body)
	case w.Code == http.StatusPartialContent:
		_, parameters, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
		if err != nil {
			return err
		}
		for parts := multipart.NewReader(w.Body, parameters["boundary"]); ; {
			p, err := parts.NextPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			got, _ := io.ReadAll(p)
			if err := part(p.Header.Get("Content-Range"), got); err != nil {
				return err
			}
		}
	default:
		return errors.New("another status")
	}
	return nil
}

// Every answer is of one version of what was asked for, header and body, while few keys are filled, confirmed, joined from parts,
// purged and forgotten at once, in memory that is overwritten when it is given back; and nothing is held when all is purged.
func TestAnswersStayWhole(t *testing.T) {
	var v versions
	d := newDirect(t, v.ServeHTTP)
	respcache.PoisonForTest(d.handler)
	requests := [...][]string{
		{},
		{},
		{},
		{"Cache-Control", "no-cache"},
		{"Cache-Control", "max-age=0"},
		{"Range", "bytes=0-499"},
		{"Range", "bytes=400-69000"},
		{"Range", "bytes=0-0,300-69999"},
		{"Range", "bytes=-300"},
		{"Range", "bytes=60000-"},
		{"Accept-Encoding", "gzip"},
	}
	var group sync.WaitGroup
	var hits, confirmed, parts atomic.Int64
	rounds := figure(t, 3000, 250)
	for range 8 {
		group.Go(func() {
			for range rounds {
				key, variant, method := rand.IntN(len(v)), rand.IntN(3), http.MethodGet
				if rand.IntN(10) == 0 {
					method = http.MethodHead
				}
				w, fields := httptest.NewRecorder(), requests[rand.IntN(len(requests))]
				r := gatehousetest.Request(w, method, fmt.Sprint("http://example.com/", key), "203.0.113.7:1")
				r.Header.Set("X-Variant", fmt.Sprint(variant))
				if len(fields) > 0 {
					r.Header.Set(fields[0], fields[1])
				}
				if err := d.handler.ServeHTTP(w, r, d.next); err != nil {
					t.Error(err)
				}
				status := w.Header().Get("Cache-Status")
				if err := oneVersion(w, method, key, variant); err != nil {
					t.Errorf("%s %d %v: %d (%s): %v", method, key, fields, w.Code, status, err)
					return
				}
				switch {
				case strings.Contains(status, "; hit") && w.Code == http.StatusPartialContent:
					parts.Add(1)
				case strings.Contains(status, "; hit"):
					hits.Add(1)
				case strings.Contains(status, "fwd-status=304"):
					confirmed.Add(1)
				}
				switch rand.IntN(60) {
				case 0:
					d.purge(t, "tag", "all")
				case 1:
					d.purge(t, "url", fmt.Sprint("http://example.com/", key))
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d hits, %d of parts, %d confirmed, %d asked", hits.Load(), parts.Load(), confirmed.Load(), d.asked.Load())
	if hits.Load() == 0 || parts.Load() == 0 || confirmed.Load() == 0 {
		t.Error("not all of it was tested")
	}
	d.purge(t, "all", "")
	if held, items := respcache.SweepForTest(d.handler); held != 0 || items != 0 {
		t.Errorf("%d bytes and %d items are held", held, items)
	}
}
