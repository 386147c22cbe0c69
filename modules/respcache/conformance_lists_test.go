// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package respcache_test

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// kept is a case of an answer that has to be reused, dropped one that has not.
func kept(lines ...string) []exchange {
	return []exchange{{answer: lines}, {answer: []string{"Cache-Control: no-store"}, from: store}}
}

func dropped(lines ...string) []exchange {
	return []exchange{{answer: lines}, {answer: []string{"Cache-Control: no-store"}, from: origins}}
}

// lists are the rules that the standards give as lists of values.
func lists() []section {
	return []section{
		{"RFC 9110 section 15: statuses", statuses()},
		{"RFC 9111 section 4.2.2: heuristics", heuristics()},
		{"RFC 9111 section 3.1: fields that are stored", storedFields()},
		{"RFC 9111 section 3.2: fields that a 304 updates", updatedFields()},
		{"RFC 9111 section 4.1: syntax of Vary", varieties()},
		{"RFC 9111 section 4.2.3: syntax of Age", ages()},
		{"RFC 9111 section 5.3: syntax of Expires", expiries()},
		{"RFC 9111 section 5.2: syntax of Cache-Control", directiveForms()},
		{"RFC 9111 section 4.2.4: stale answers", staleness()},
		{"RFC 9110 section 9.3.3: POST", posts()},
		{"RFC 9213 section 2.2: values of CDN-Cache-Control", targeted()},
		{"RFC 9111 section 4.4: methods", methods()},
	}
}

func statuses() map[string][]exchange {
	cases := map[string][]exchange{}
	for _, status := range []int{200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 405, 410, 414, 451, 499, 500, 501, 502, 503, 504, 599} {
		line := fmt.Sprint("status ", status)
		cases[fmt.Sprint(status, ", fresh")] = []exchange{
			{answer: []string{line, "Cache-Control: max-age=3600", "X-A: 1"}, status: status}, {from: store, status: status, want: []string{"X-A: 1"}},
		}
		cases[fmt.Sprint(status, ", stale")] = []exchange{
			{answer: []string{line, "Cache-Control: max-age=3600", "Age: 3601"}, status: status}, {answer: []string{"Cache-Control: no-store"}, from: origins},
		}
	}
	return cases
}

func heuristics() map[string][]exchange {
	cases := map[string][]exchange{}
	modified := "Last-Modified: " + ago(24*time.Hour)
	for _, status := range []int{200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501} {
		cases[fmt.Sprint(status)] = []exchange{{answer: []string{fmt.Sprint("status ", status), modified}, status: status}, {from: store, status: status}}
	}
	for _, status := range []int{201, 202, 302, 303, 307, 400, 403, 500, 502, 503, 504, 599} {
		cases[fmt.Sprint("not ", status)] = []exchange{{answer: []string{fmt.Sprint("status ", status), modified}, status: status}, {from: origins}}
	}
	cases["599 that is public"] = []exchange{{answer: []string{"status 599", modified, "Cache-Control: public"}, status: 599}, {from: store, status: 599}}
	cases["neither freshness nor Last-Modified"] = []exchange{{}, {from: origins}}
	cases["modified an hour ago: six minutes"] = kept("Last-Modified: "+ago(time.Hour), "Date: "+ago(0))
	cases["modified an hour ago, seven minutes old"] = dropped("Last-Modified: "+ago(time.Hour), "Date: "+ago(0), "Age: 420")
	cases["Pragma"] = dropped(modified, "Pragma: no-cache")
	return cases
}

func storedFields() map[string][]exchange {
	cases := map[string][]exchange{}
	for _, line := range []string{
		"X-Test: 1", "Content-Foo: 1", "Content-Encoding: x-unknown", "Content-Language: de", "Content-Location: /foo", "Content-MD5: rL0Y20zC+Fzt72VPzMSk2A==",
		"Content-Range: x", "Content-Security-Policy: default-src 'self'", "Content-Type: text/plain;charset=utf-8", "Clear-Site-Data: \"cache\"",
		"ETag: \"a\"", "Expires: Fri, 01 Jan 2038 01:01:01 GMT", "Public-Key-Pins: x", "Set-Cookie2: a=b", "X-Frame-Options: deny", "Warning: 199 - x",
		"Content-Disposition: attachment", "Strict-Transport-Security: max-age=1", "WWW-Authenticate: Basic", "Link: </a>; rel=preload", "Date: " + ago(time.Minute),
	} {
		cases[line] = []exchange{{answer: []string{"Cache-Control: max-age=3600", line}}, {from: store, want: []string{line}}}
	}
	for _, name := range []string{"Keep-Alive", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization", "Proxy-Connection", "TE", "Upgrade"} {
		cases["not "+name] = []exchange{{answer: []string{"Cache-Control: max-age=3600", name + ": x"}}, {from: store, want: []string{name + ":"}}}
	}
	return cases
}

func updatedFields() map[string][]exchange {
	cases := map[string][]exchange{}
	update := func(name, first, second, want string) {
		cases[name] = []exchange{
			{answer: []string{`ETag: "a"`, "Cache-Control: max-age=0", name + ": " + first}},
			{answer: []string{"status 304", `ETag: "a"`, "Cache-Control: max-age=3600", name + ": " + second}, from: checked, want: []string{name + ": " + want}},
			{from: store, want: []string{name + ": " + want}},
		}
	}
	for _, name := range []string{"X-Test", "Content-Foo", "X-Content-Foo", "Content-Security-Policy", "X-Frame-Options", "Content-Location"} {
		update(name, "1", "2", "2")
	}
	update("Content-Type", "text/a", "text/b", "text/a") // which describe the body that is stored
	update("Content-Length", "4", "9", "4")
	cases["Cache-Control"] = []exchange{
		{answer: []string{`ETag: "a"`, "Cache-Control: max-age=0"}},
		{answer: []string{"status 304", `ETag: "a"`, "Cache-Control: max-age=3600"}, from: checked, want: []string{"Cache-Control: max-age=3600"}},
		{from: store, want: []string{"Cache-Control: max-age=3600"}},
	}
	return cases
}

func varieties() map[string][]exchange {
	cases := map[string][]exchange{}
	for _, vary := range [][]string{{"*"}, {"*, *"}, {"*", "*"}, {", *"}, {"", "*"}, {"*, A"}, {"A, *"}, {"A", "*"}} {
		lines := []string{"Cache-Control: max-age=3600"}
		for _, value := range vary {
			lines = append(lines, "Vary: "+value)
		}
		cases[strings.Join(vary, " and ")] = dropped(lines...)
	}
	pair := func(name, vary string, first, second []string, answered from) {
		cases[name] = []exchange{{request: first, answer: []string{"Cache-Control: max-age=3600", "Vary: " + vary}}, {request: second, from: answered}}
	}
	pair("combined lines", "A", []string{"A: 1, 2"}, []string{"A: 1", "A: 2"}, store)
	pair("whitespace", "A", []string{"A: 1,2"}, []string{"A:  1, 2 "}, store)
	pair("three fields", "A, B, C", []string{"A: 1", "B: 2", "C: 3"}, []string{"C: 3", "B: 2", "A: 1"}, store)
	pair("three fields, one other", "A, B, C", []string{"A: 1", "B: 2", "C: 3"}, []string{"A: 1", "B: 2", "C: 4"}, origins)
	pair("three fields, one missing in both", "A, B, C", []string{"A: 1", "C: 3"}, []string{"A: 1", "C: 3"}, store)
	pair("three fields, one missing", "A, B, C", []string{"A: 1", "B: 2", "C: 3"}, []string{"A: 1", "B: 2"}, origins)
	pair("fields that it does not name", "A", []string{"A: 1", "X: 1"}, []string{"A: 1", "X: 2"}, store)
	pair("order of languages", "Accept-Language", []string{"Accept-Language: en, de"}, []string{"Accept-Language: de, en"}, store)
	pair("case of languages", "Accept-Language", []string{"Accept-Language: en, de"}, []string{"Accept-Language: eN, De"}, store)
	pair("other weights of languages", "Accept-Language", []string{"Accept-Language: en, de"}, []string{"Accept-Language: en;q=0.5, de"}, origins)
	return cases
}

func ages() map[string][]exchange {
	cases := map[string][]exchange{}
	for value, fresh := range map[string]bool{
		"0": true, "3599": true, "3600": false, "7200": false, "2147483647": false, "2147483648": false, "99999999999": false, "abc": true, "-7200": true, "7200.0": true,
		"7200, 0": false, "0, 7200": true, "0, 0": true, "": true,
	} {
		if fresh {
			cases[value] = kept("Date: "+ago(0), "Cache-Control: max-age=3610", "Age: "+value)
		} else {
			cases[value] = dropped("Date: "+ago(0), "Cache-Control: max-age=3600", "Age: "+value)
		}
	}
	cases["two lines, the first old"] = dropped("Cache-Control: max-age=3600", "Age: 7200", "Age: 0")
	cases["two lines, the second old"] = kept("Cache-Control: max-age=3600", "Age: 0", "Age: 7200")
	cases["with a slow Date"] = dropped("Date: "+ago(10*time.Second), "Expires: "+in(10*time.Second), "Age: 25")
	cases["with a fast Date"] = dropped("Date: "+in(10*time.Second), "Expires: "+in(20*time.Second), "Age: 15")
	return cases
}

func expiries() map[string][]exchange {
	cases := map[string][]exchange{}
	for _, value := range []string{
		"Tue, 19 Jan 2038 14:14:08 GMT", "Sun, 21 Nov 2286 04:46:39 GMT", "Thursday, 18-Aug-50 02:01:18 GMT", "Thu Aug  8 02:01:18 2050",
		"THU, 18 Aug 2050 02:01:18 GMT", "Thu, 18 AUG 2050 02:01:18 GMT", "Thu, 18 Aug 2050 02:01:18 gMT", "Fri, 31 Dec 9999 23:59:59 GMT",
	} {
		cases[value] = kept("Expires: "+value, "Date: "+ago(0))
	}
	for _, value := range []string{
		"0", "-1", "Thu, 18 Aug 2050 02:01:18 UTC", "Thu, 18 Aug 2050 02:01:18 AEST", "Thu, 18 Aug 50 02:01:18 GMT", "Thu 18 Aug 2050 02:01:18 GMT",
		"Thu, 18  Aug  2050 02:01:18 GMT", "Thu, 18-Aug-2050 02:01:18 GMT", "Thu, 18 Aug 2050 02.01.18 GMT", "Thu, 18 Aug 2050 2:01:18 GMT", "2050-08-18T02:01:18Z",
	} {
		cases["not "+value] = dropped("Expires: "+value, "Date: "+ago(0))
	}
	cases["now"] = dropped("Expires: "+ago(0), "Date: "+ago(0))
	cases["before Date, both ahead"] = dropped("Expires: "+in(300*time.Second), "Date: "+in(400*time.Second))
	cases["with a malformed Date"] = kept("Expires: "+in(time.Hour), "Date: foo")
	cases["two lines, the first malformed"] = dropped("Expires: x", "Expires: "+in(time.Hour))
	cases["max-age beats it"] = kept("Expires: "+ago(time.Hour), "Cache-Control: max-age=3600")
	cases["s-maxage beats it and max-age"] = kept("Expires: "+ago(time.Hour), "Cache-Control: max-age=0, s-maxage=3600")
	return cases
}

func directiveForms() map[string][]exchange {
	cases := map[string][]exchange{}
	for _, value := range []string{
		"max-age=3600", `max-age="3600"`, "MaX-aGe=3600", "max-age=003600", "foobar, max-age=3600", "max-age=2147483648", "max-age=99999999999", "max-age=3600, foo=bar",
		"max-age=3600, max-age=0", "max-age=3600, private=\"X\"", "max-age=3600,", ",, max-age=3600", `x="no-store", max-age=3600`, "no-store, must-understand, max-age=3600",
	} {
		cases[value] = kept("Cache-Control: " + value)
	}
	for _, value := range []string{
		"max-age=0", "max-age=-3600", "max-age='3600'", "max-age=3600.5", "max-age=a3600", "max-age=3600a", "max-age =3600", "max-age= 3600", "max-age=",
		"max-age", `x="max-age=3600", max-age=0`, `max-age=0, x="max-age=3600"`, "max-age=0, max-age=3600", "No-StOrE, max-age=3600", "max-age=3600, PRIVATE",
		"max-age=3600, No-CaChE", "s-maxage=0, max-age=3600", "private=, max-age=3600", `no-cache="", max-age=3600`, `x=", max-age=3600`,
	} {
		cases["not "+value] = dropped("Cache-Control: " + value)
	}
	cases["over two lines"] = kept("Cache-Control: public", "Cache-Control: max-age=3600")
	cases["s-maxage on the second line"] = dropped("Cache-Control: max-age=3600", "Cache-Control: s-maxage=0")
	cases["no-store does not remove what is stored"] = []exchange{
		{answer: []string{"Cache-Control: max-age=3600"}, body: "one"},
		{request: []string{"Cache-Control: no-cache"}, answer: []string{"Cache-Control: no-store"}, body: "two", text: "two"},
		{from: store, text: "one"},
	}
	return cases
}

func staleness() map[string][]exchange {
	cases := map[string][]exchange{
		"used while the origin cannot be reached":   {{answer: []string{"Cache-Control: max-age=10", "Age: 20", `ETag: "a"`}, body: "one"}, {answer: []string{"disconnect"}, from: anywhere, text: "one"}},
		"not for longer than a minute":              {{answer: []string{"Cache-Control: max-age=10", "Age: 80", `ETag: "a"`}}, {answer: []string{"disconnect"}, from: anywhere, status: 502}},
		"not when the origin answers with an error": {{answer: []string{"Cache-Control: max-age=10", "Age: 20", `ETag: "a"`}}, {answer: []string{"status 503"}, status: 503}},
		"used while stale-if-error says so":         {{answer: []string{"Cache-Control: max-age=10, stale-if-error=600", "Age: 500"}, body: "one"}, {answer: []string{"disconnect"}, from: anywhere, text: "one"}},
		"not after stale-while-revalidate":          {{answer: []string{"Cache-Control: max-age=10, stale-while-revalidate=5", "Age: 20", `ETag: "a"`}}, {answer: []string{"Cache-Control: no-store"}, body: "two", text: "two"}},
		"validated while stale-while-revalidate":    {{answer: []string{"Cache-Control: max-age=10, stale-while-revalidate=60", "Age: 20", `ETag: "a"`}, body: "one"}, {answer: []string{"status 304"}, from: anywhere, text: "one"}},
	}
	for _, directive := range []string{"must-revalidate", "proxy-revalidate", "s-maxage=10", "no-cache"} {
		cases["not with "+directive] = []exchange{
			{answer: []string{"Cache-Control: max-age=10, " + directive, "Age: 20", `ETag: "a"`}}, {answer: []string{"disconnect"}, from: anywhere, status: 502},
		}
	}
	return cases
}

func posts() map[string][]exchange {
	get := exchange{answer: []string{"Cache-Control: no-store"}, body: "of GET", from: origins, text: "of GET"}
	post := func(request []string, lines ...string) []exchange {
		return []exchange{{method: "POST", request: request, answer: lines, body: "of POST"}, get}
	}
	stored := func(lines ...string) []exchange {
		return []exchange{{method: "POST", answer: lines, body: "of POST"}, {from: store, text: "of POST"}, {method: "HEAD", from: store}}
	}
	const fresh, here = "Cache-Control: max-age=3600", "Content-Location: {case}"
	return map[string][]exchange{
		"max-age and the URI":          stored(fresh, here),
		"Expires and the URI":          stored("Expires: "+in(time.Hour), here),
		"an earlier answer":            {{answer: []string{fresh}, body: "one"}, {method: "POST", answer: []string{fresh, here}, body: "two"}, {from: store, text: "two"}},
		"no Content-Location":          post(nil, fresh),
		"another one":                  post(nil, fresh, "Content-Location: {case}/x"),
		"another query":                post(nil, fresh, "Content-Location: {case}?x"),
		"another origin":               post(nil, fresh, "Content-Location: http://other.example{case}"),
		"two":                          post(nil, fresh, here, here),
		"no explicit freshness":        post(nil, here, "Last-Modified: "+ago(1000*time.Hour)),
		"private":                      post(nil, here, "Cache-Control: private, max-age=3600"),
		"Set-Cookie":                   post(nil, here, fresh, "Set-Cookie: a=b"),
		"to a client with a cookie":    post([]string{"Cookie: a=b"}, here, fresh),
		"to a client with credentials": post([]string{"Authorization: x"}, here, "Cache-Control: public, max-age=3600"),
		"Vary: *":                      post(nil, here, fresh, "Vary: *"),
		"an error":                     {{method: "POST", answer: []string{"status 404", here, fresh}, status: 404}, get},
		"PUT":                          {{method: "PUT", answer: []string{here, fresh}}, get},
	}
}

func targeted() map[string][]exchange {
	cases := map[string][]exchange{}
	for _, value := range []string{"max-age=3600", "max-age=99999999999", "foobar, max-age=3600", "max-age=3600;x=1", "max-age=0, max-age=3600"} {
		cases[value] = kept("CDN-Cache-Control: "+value, "Cache-Control: no-store", "Expires: "+ago(time.Hour))
	}
	for _, value := range []string{"max-age=0", "no-cache", "no-store", "private", "max-age=-1", "max-age=3600, no-store"} {
		cases["not "+value] = dropped("CDN-Cache-Control: "+value, "Cache-Control: max-age=3600", "Expires: "+in(time.Hour))
	}
	for _, value := range []string{"max-age=3600, &&&&", "max-age =3600", "max-age= 3600", "MaX-aGe=3600", "max-age=3600,", `max-age="3600"`} {
		cases["ignored: "+value] = dropped("CDN-Cache-Control: "+value, "Cache-Control: no-store")
	}
	cases["Age counts"] = dropped("CDN-Cache-Control: max-age=3600", "Age: 7200")
	return cases
}

func methods() map[string][]exchange {
	cases := map[string][]exchange{}
	fresh := []string{"Cache-Control: max-age=3600"}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "M-SEARCH"} {
		cases[method] = []exchange{{answer: fresh}, {method: method}, {answer: fresh, from: origins}}
		cases[method+" that fails"] = []exchange{{answer: fresh}, {method: method, answer: []string{"status 500"}, status: 500}, {from: store}}
		for _, field := range []string{"Location", "Content-Location"} {
			cases[method+" and "+field] = []exchange{
				{path: "/x", answer: fresh}, {method: method, answer: []string{field + ": {case}/x"}}, {path: "/x", answer: fresh, from: origins},
			}
		}
	}
	return cases
}

// allSections are the tables of this file beside those by section.
func allSections() []section { return slices.Concat(sections(), lists()) }
