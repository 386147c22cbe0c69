// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"net/http"
	"runtime"
	"runtime/metrics"
	"strconv"
	"testing"
)

// realistic answers with 1 KiB and the header fields of an application behind a framework. Some names are none that net/http knows:
// each answer brings its own copy of them.
func realistic(w http.ResponseWriter, r *http.Request) {
	kibibyte(w, r)
	h := w.Header()
	for _, name := range []string{"X-Request-Id", "X-Powered-By", "X-Frame-Options"} {
		h[string([]byte(name))] = []string{string([]byte("6c84fb90-12c4-11e1-840d-7b25c5ee775a"))}
	}
	h["Vary"] = []string{"Accept-Encoding"}
	h["Strict-Transport-Security"] = []string{"max-age=31536000; includeSubDomains"}
	delete(h, "Server")
}

// filled is a cache with so many answers, and what each of them takes of the collected heap.
func filled(t testing.TB, answers int) (d *direct, objects, bytes float64) {
	d = newDirect(t, realistic)
	d.recorder = func() http.ResponseWriter { return &discard{header: http.Header{"Server": {"Caddy"}}} }
	before := settled()
	for i := range answers {
		d.get("http://example.com/some/path/"+strconv.Itoa(i)+"?size=1024", "Accept-Encoding", "gzip, br")
	}
	after := settled()
	if d.asked.Load() != int64(answers) {
		t.Fatalf("the origin was asked %d times for %d answers", d.asked.Load(), answers)
	}
	n := float64(answers)
	return d, (float64(after.HeapObjects) - float64(before.HeapObjects)) / n, (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / n
}

// settled is the heap without garbage.
func settled() (stats runtime.MemStats) {
	for range 3 { // pools keep what they hold for two of them
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return stats
}

// The garbage collector visits every object of every stored answer each time it runs: a full cache must have few of them.
func TestAnswersAreFewObjects(t *testing.T) {
	const answers, most = 5000, 3.5
	d, objects, bytes := filled(t, answers)
	t.Logf("an answer of 1 KiB is %.2f objects of %.0f bytes in the collected heap", objects, bytes)
	if objects > most {
		t.Errorf("%.2f objects, want at most %g", objects, most)
	}
	if objects < 1 {
		t.Errorf("%.2f objects: the answers are not stored", objects)
	}
	runtime.KeepAlive(d)
}

// BenchmarkCollection is one run of the garbage collector over 100,000 stored answers.
func BenchmarkCollection(b *testing.B) {
	d, objects, bytes := filled(b, 100_000)
	begun := marking()
	for b.Loop() {
		runtime.GC()
	}
	b.ReportMetric((marking()-begun)*1e3/float64(b.N), "cpu-ms/op")
	b.ReportMetric(objects, "objects/answer")
	b.ReportMetric(bytes, "heap-B/answer")
	runtime.KeepAlive(d)
}

// marking is the CPU time that the garbage collector has taken to mark, in seconds.
func marking() (seconds float64) {
	var samples []metrics.Sample
	for _, kind := range []string{"assist", "dedicated", "idle"} {
		samples = append(samples, metrics.Sample{Name: "/cpu/classes/gc/mark/" + kind + ":cpu-seconds"})
	}
	metrics.Read(samples)
	for _, s := range samples {
		seconds += s.Value.Float64()
	}
	return seconds
}
