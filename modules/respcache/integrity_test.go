// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-proxy/gatehouse/modules/respcache"
)

// Bodies stay whole while a full cache evicts them, purges forget them and new ones take their memory: with memory that is
// overwritten as soon as it is given back.
func TestBodiesStayWhole(t *testing.T) {
	const keys = 3000
	content := func(key int) []byte {
		return bytes.Repeat(fmt.Appendf(nil, "%08d", key), 64*(1+key%400))
	}
	d := newDirect(t, func(w http.ResponseWriter, r *http.Request) {
		var key int
		if _, err := fmt.Sscanf(r.URL.Path, "/%d", &key); err != nil {
			t.Error(err)
		}
		w.Header().Set("Cache-Control", "max-age=600")
		w.Header().Set("Cache-Tag", fmt.Sprint(key%10))
		if key%2 == 0 {
			w.Header().Set("Content-Length", fmt.Sprint(len(content(key))))
		}
		for piece := content(key); len(piece) > 0; {
			n := min(len(piece), 1+rand.IntN(40_000))
			_, _ = w.Write(piece[:n])
			piece = piece[n:]
		}
	})
	respcache.PoisonForTest(d.handler)
	var group sync.WaitGroup
	hits, rounds := make([]int, 8), figure(t, 3000, 1000)
	for g := range hits {
		group.Go(func() {
			for i := range rounds {
				key := rand.IntN(keys)
				if rand.IntN(2) == 0 {
					key = rand.IntN(50)
				}
				w := d.get(fmt.Sprint("http://example.com/", key))
				if want := content(key); !bytes.Equal(w.Body.Bytes(), want) {
					t.Errorf("key %d: %d bytes of %d, or other ones (%s)", key, w.Body.Len(), len(want), w.Header().Get("Cache-Status"))
					return
				}
				if strings.Contains(w.Header().Get("Cache-Status"), "; hit") {
					hits[g]++
				}
				if i%100 == 0 {
					d.purge(t, "tag", fmt.Sprint(rand.IntN(10)))
				}
			}
		})
	}
	group.Wait()
	if hits[0] == 0 {
		t.Error("nothing was ever found, so nothing was tested")
	}
}
