// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
)

// newPolicy returns a policy as Provision would leave it, for a pool of n upstreams.
func newPolicy(t testing.TB, p *ConsistentHash, n int) (*ConsistentHash, reverseproxy.UpstreamPool) {
	t.Helper()
	pool, _ := newPool(n)
	handler := &reverseproxy.Handler{Upstreams: pool, LoadBalancing: &reverseproxy.LoadBalancing{Retries: 1}}
	registry := newRegistry()
	var err error
	if p.key, err = newKeyFunc(p.Key, p.Name, p.Placeholders); err != nil {
		t.Fatal(err)
	}
	if p.rule, err = p.newRule(); err != nil {
		t.Fatal(err)
	}
	p.fallback = reverseproxy.LeastConnSelection{}
	p.proxy = proxy{observer: newObserver(handler, registry), static: pool}
	p.resolver = resolver[*ranking]{
		registry: registry,
		static:   pool,
		derive:   func(upstreams []*upstream) *ranking { return newRanking(upstreams, p.Weights) },
	}
	return p, pool
}

// browserRequest is a request with the headers that a browser sends.
func browserRequest() *http.Request {
	r := gatehousetest.Request(httptest.NewRecorder(), http.MethodGet, "http://site/shop/item?lang=en&user=alice%20b", "203.0.113.7:1234")
	r.Header.Set("User-Agent", "Mozilla/5.0")
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Cookie", `theme=dark; session="c2Vzc2lvbg"; lang=en`)
	r.Header.Set("X-Tenant", "tenant-42")
	return r
}

// keyChange changes a browser's request.
type keyChange func(*http.Request)

// keyTest says which changes of a browser's request change the policy's key.
type keyTest struct {
	policy  *ConsistentHash
	same    []keyChange // do not change the key
	other   []keyChange // change it
	without keyChange   // takes it away
}

func keyTests() []keyTest {
	header := func(name, value string) keyChange { return func(r *http.Request) { r.Header.Set(name, value) } }
	query := func(q string) keyChange { return func(r *http.Request) { r.URL.RawQuery = q } }
	return []keyTest{
		{
			&ConsistentHash{Key: keyHeader, Name: "x-tenant"},
			[]keyChange{header("User-Agent", "x"), func(r *http.Request) { r.Header.Add("X-Tenant", "second") }},
			[]keyChange{header("X-Tenant", "tenant-43")},
			header("X-Tenant", ""),
		},
		{
			&ConsistentHash{Key: keyHeader, Name: "Host"},
			nil,
			[]keyChange{func(r *http.Request) { r.Host = "other" }},
			func(r *http.Request) { r.Host = "" },
		},
		{
			&ConsistentHash{Key: keyCookie, Name: "session"},
			[]keyChange{header("Cookie", "session=c2Vzc2lvbg"), header("Cookie", "a=session; session=c2Vzc2lvbg ; session=2")},
			[]keyChange{header("Cookie", "session=other"), header("Cookie", "SESSION=c2Vzc2lvbg; session=x")},
			header("Cookie", "session=; xsession=1; session2=2; session"),
		},
		{
			&ConsistentHash{Key: keyQuery, Name: "user"},
			[]keyChange{query("user=alice+b"), query("a=1&us%65r=alice%20b&user=2")},
			[]keyChange{query("user=alice"), query("user=%zz")},
			query("username=alice&xuser=1&user"),
		},
		{
			&ConsistentHash{Key: keyURI},
			[]keyChange{header("X-Tenant", "")},
			[]keyChange{func(r *http.Request) { r.RequestURI = "/other" }},
			func(r *http.Request) { r.RequestURI = "" },
		},
		{
			&ConsistentHash{Key: keyPlaceholder, Placeholders: []string{"{http.request.header.X-Tenant}"}},
			[]keyChange{query("")},
			[]keyChange{header("X-Tenant", "other")},
			header("X-Tenant", ""),
		},
		{
			&ConsistentHash{Key: keyPlaceholder, Placeholders: []string{"{http.request.header.A}", "{http.request.header.X-Tenant}"}},
			[]keyChange{query("")},
			[]keyChange{header("A", "x"), func(r *http.Request) { r.Header.Set("A", "tenant-42"); r.Header.Del("X-Tenant") }},
			header("X-Tenant", ""),
		},
	}
}

func TestKeys(t *testing.T) {
	for _, c := range keyTests() {
		t.Run(fmt.Sprint(c.policy.Key, c.policy.Name, len(c.policy.Placeholders)), func(t *testing.T) {
			key, err := newKeyFunc(c.policy.Key, c.policy.Name, c.policy.Placeholders)
			if err != nil {
				t.Fatal(err)
			}
			want, ok := key(browserRequest())
			if !ok {
				t.Fatal("no key")
			}
			hash := func(c keyChange) (uint64, bool) {
				r := browserRequest()
				c(r)
				return key(r)
			}
			for i, c := range c.same {
				if got, ok := hash(c); got != want || !ok {
					t.Errorf("change %d changed the key", i)
				}
			}
			for i, c := range c.other {
				if got, ok := hash(c); got == want || !ok {
					t.Errorf("change %d did not change the key (%v)", i, ok)
				}
			}
			if _, ok := hash(c.without); ok {
				t.Error("a request without the key has one")
			}
		})
	}
}

// Short keys are hashed by hand: the same ones on every proxy and in every version, none alike, and each bit of them counts.
func TestShortKeys(t *testing.T) {
	for key, want := range map[string]uint64{"abcd": 0x6db7b9735752ca9e, "10.0.0.1": 0x59cec51ae20f9ae2, "203.0.113.7": 0x35aeba52d2841b0f, "2001:db8::1:2345": 0xc51f6019d18714af} {
		if got, ok := hashString(key); got != want || !ok {
			t.Errorf("%q: %#x, %v, want %#x", key, got, ok, want)
		}
	}
	seen := map[uint64]string{}
	flips, pairs := [64]int{}, 0
	for i := range 1 << 18 {
		key := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()
		hash, _ := hashString(key)
		if other, ok := seen[hash]; ok {
			t.Fatalf("%s and %s have the same hash", key, other)
		}
		seen[hash] = key
		altered := []byte(key)
		altered[i%len(key)] ^= 1 << (i % 7)
		other, _ := hashString(string(altered))
		for bit := range flips {
			flips[bit] += int((hash ^ other) >> bit & 1)
		}
		pairs++
	}
	for bit, n := range flips {
		if share := float64(n) / float64(pairs); share < .49 || share > .51 {
			t.Errorf("bit %d of the hash follows one of the key in %.3f, want half", bit, share)
		}
	}
}

func TestClientIPKey(t *testing.T) {
	key, err := newKeyFunc(keyClientIP, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	one, _ := key(gatehousetest.Request(httptest.NewRecorder(), http.MethodGet, "http://site/", "203.0.113.7:1234"))
	same, _ := key(gatehousetest.Request(httptest.NewRecorder(), http.MethodGet, "http://site/x", "203.0.113.7:9999"))
	other, _ := key(gatehousetest.Request(httptest.NewRecorder(), http.MethodGet, "http://site/", "203.0.113.8:1234"))
	if _, ok := key(httptest.NewRequest(http.MethodGet, "/", nil)); ok || one != same || one == other {
		t.Errorf("keys %x, %x, %x", one, same, other)
	}
}

func TestSelectAllocatesNothing(t *testing.T) {
	for _, policy := range []*ConsistentHash{
		{Key: keyClientIP},
		{Key: keyHeader, Name: "X-Tenant"},
		{Key: keyCookie, Name: "session"},
		{Key: keyQuery, Name: "lang"},
		{Key: keyURI},
		{Key: keyURI, Weights: map[string]float64{"10.0.0.1:8080": 3}},
		{Key: keyURI, BalanceFactor: 1.25},
	} {
		for _, n := range []int{1, 5, 50, 100} {
			p, pool := newPolicy(t, policy, n)
			r := browserRequest()
			chosen := p.Select(pool, r, nil)
			for _, u := range p.resolver.resolve(pool).upstreams {
				u.inFlight.Add(3)
			}
			p.resolver.resolve(pool).upstreams[0].inFlight.Add(1000)
			if allocs := testing.AllocsPerRun(200, func() { p.Select(pool, r, nil) }); allocs != 0 || chosen == nil {
				t.Errorf("%s, %d upstreams: %g allocations, chose %v", policy.Key, n, allocs, chosen)
			}
		}
	}
}

func BenchmarkSelect(b *testing.B) {
	for _, weighted := range []bool{false, true} {
		for _, n := range []int{5, 10, 50} {
			for _, key := range []*ConsistentHash{{Key: keyHeader, Name: "X-Tenant"}, {Key: keyClientIP}, {Key: keyURI}} {
				name := "equal"
				if weighted {
					name, key.Weights = "weighted", map[string]float64{}
					for i, address := range names(n) {
						key.Weights[address] = float64(i%4 + 1)
					}
				}
				b.Run(fmt.Sprintf("%s/%d/%s", name, n, key.Key), func(b *testing.B) { benchmarkSelect(b, key, n) })
			}
		}
	}
}

// benchmarkSelect takes many requests in turn: with one alone, the processor would learn its key.
func benchmarkSelect(b *testing.B, p *ConsistentHash, n int) {
	p, pool := newPolicy(b, p, n)
	requests := make([]*http.Request, 1024)
	for i := range requests {
		r := gatehousetest.Request(nil, http.MethodGet, fmt.Sprint("http://site/page/", i), fmt.Sprintf("203.0.%d.%d:1234", i/256, i%256))
		r.Header.Set("X-Tenant", fmt.Sprint("tenant-", i))
		requests[i] = r
	}
	for i := range p.resolver.resolve(pool).upstreams {
		p.resolver.resolve(pool).upstreams[i].inFlight.Store(3)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if p.Select(pool, requests[i&1023], nil) == nil {
			b.Fatal("nothing chosen")
		}
		i++
	}
}
