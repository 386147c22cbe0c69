// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "net/http"

// comparison sets a contender beside another one.
type comparison struct {
	name, base, rival string
	method            method
	limit             float64 // of the ratio that the method measures; 0: it is shown and not judged
	uri               string  // {n} is another number for each request
	status            int     // of the rival's answers; the base's is 200
	reaches           bool    // the rival's requests reach the upstream
}

// Key is its name on the command line.
func (c comparison) Key() string { return c.name }

// method is how a pair is driven, and which ratio counts.
type method int

const (
	// beside: both at once, their requests in the order base, rival, rival, base at a constant rate: whatever the machine
	// does besides, it does to both. The ratio is that of CPU time a request, which must not be above the limit.
	beside method = iota
	// maximum: one after the other in the order ABBA, as fast as they answer. The ratio is that of requests a second, which
	// must not be below the limit.
	maximum
	// loaded: one after the other in the order ABBA, at a constant rate of 70 % of what the slower one served at most. The
	// ratio is that of p99, which must not be above the limit.
	loaded
)

func (m method) String() string { return [...]string{"cost", "maximum", "loaded"}[m] }

const (
	// miss is a resource that nobody has asked for before and that a cache keeps.
	miss = "/cache/max-age?size=1024&n={n}"
	hit  = "/cache/max-age?size=1024"
)

// Names of comparisons that verdicts speak of.
const (
	again   = "again"
	sameOff = "off"
)

// comparisons are the figures that the project promises, and what they are to be read beside.
func comparisons() []comparison {
	ok := func(name, base, rival string, m method, limit float64) comparison {
		return comparison{name, base, rival, m, limit, miss, http.StatusOK, true}
	}
	return []comparison{
		ok(again, plainNone, plainAgain, beside, 0),
		ok(sameOff, plainNone, "off", beside, 0), // judged by the spread of `again`
		ok("off_shipped", plainNone, "off_shipped", beside, 0),
		ok("all_to_file", plainFile, allOn, beside, 0.90),
		ok("all_same", plainNone, "all_same", beside, 1.20),
		ok("all_go", plainNone, "all_go", beside, 0),
		ok("all", plainNone, allOn, beside, 1.00),
		ok("all_redis", plainFile, "all_redis", beside, 1.25),
		{"hit", plainNone, "hit", beside, 0.45, hit, http.StatusOK, false},
		{"hit_all", plainNone, "hit_all", beside, 0.65, hit, http.StatusOK, false},
		{"banned", plainNone, "banned", beside, 0.45, hit, http.StatusForbidden, false},
		{"limited", plainNone, "limited", beside, 0.45, hit, http.StatusTooManyRequests, false},
		ok("nginx", plainNone, "nginx", beside, 0),
		ok("haproxy", plainNone, "haproxy", beside, 0),
		{"hit_maximum", plainNone, "hit_all", maximum, 1.6, hit, http.StatusOK, false},
		ok("all_maximum", plainNone, allOn, maximum, 0),
		ok("off_maximum", plainNone, "off_shipped", maximum, 0),
		ok("nginx_maximum", plainNone, "nginx", maximum, 0),
		ok("haproxy_maximum", plainNone, "haproxy", maximum, 0),
		ok("all_loaded", plainNone, allOn, loaded, 1.10),
		ok("off_loaded", plainNone, "off_shipped", loaded, 0),
	}
}

// inShort are the comparisons of a short run: the costs, and one of each other method.
func inShort(c comparison) bool {
	switch c.name {
	case "off_shipped", "all_go", "nginx_maximum", "haproxy_maximum", "off_maximum", "all_maximum", "all_loaded":
		return false
	}
	return true
}
