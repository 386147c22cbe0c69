// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dunglas/httpsfv"
)

func TestParseKey(t *testing.T) {
	for value, want := range map[string]string{
		`"k"`: "k", `k`: "k", ` "k" `: "k", `"a b"`: "a b", `"a\"b\\c"`: `a"b\c`, `"k";v=1`: "k", `8e03-978e`: "8e03-978e",
		`42`: "42", `?1`: "?1", `:YWJj:`: ":YWJj:", `a=b`: "a=b", `k;v=1`: "k;v=1", `2026-01-01T00:00Z/x`: "2026-01-01T00:00Z/x",
	} {
		if got, err := parseKey([]string{value}, false, 255); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", value, got, err, want)
		}
	}
	for _, value := range []string{"", `""`, `"a`, `a"`, `"a" "b"`, `"a", "b"`, "a,b", "a b", "a\tb", "a\x00", "ä", `"ä"`, `a\b`, strings.Repeat("x", 256)} {
		if got, err := parseKey([]string{value}, false, 255); !errors.Is(err, errKey) {
			t.Errorf("%q is accepted as %q", value, got)
		}
	}
	for _, value := range []string{`k`, `42`, `?1`, `:YWJj:`, `@1`, `("k")`} {
		if got, err := parseKey([]string{value}, true, 255); !errors.Is(err, errKey) {
			t.Errorf("%q is accepted as %q though strict", value, got)
		}
	}
	if _, err := parseKey([]string{`"k"`, `"k"`}, false, 255); !errors.Is(err, errKey) {
		t.Error("two headers are accepted")
	}
}

// Whatever is sent, the result is a key that could be written as a structured-field string, or errKey.
func FuzzParseKey(f *testing.F) {
	for _, seed := range []string{`"k"`, `k`, `"a\"`, `"k";v="x"`, `k;v`, "\x80", `""`, `("a" "b")`, `"` + strings.Repeat("x", 300) + `"`} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, value string, strict bool) {
		key, err := parseKey([]string{value}, strict, 255)
		if err != nil {
			if !errors.Is(err, errKey) || key != "" {
				t.Fatalf("%q: %q, %v", value, key, err)
			}
			return
		}
		if key == "" || len(key) > 255 {
			t.Fatalf("%q is the key %q", value, key)
		}
		written, err := httpsfv.Marshal(httpsfv.NewItem(key))
		if err != nil {
			t.Fatalf("%q is the key %q, which is no string: %v", value, key, err)
		}
		if again, err := parseKey([]string{written}, true, 255); err != nil || again != key {
			t.Fatalf("%q is the key %q, and %s is %q (%v)", value, key, written, again, err)
		}
	})
}

// A stored answer is decoded wholly, or refused; what is decoded is encoded as it was.
func FuzzAnswer(f *testing.F) {
	whole := (&answer{status: 201, header: http.Header{"Location": {"/1", "/2"}, "Etag": {"x"}}, body: []byte("body")}).encode()
	f.Add(whole)
	f.Add((&answer{status: 204, omitted: true}).encode())
	f.Add(whole[:len(whole)-1])
	f.Add(append([]byte{answerVersion + 1}, whole[1:]...))
	f.Fuzz(func(t *testing.T, in []byte) {
		decoded, err := decodeAnswer(in)
		if err != nil {
			return
		}
		if decoded.status < 200 || decoded.status > 599 || in[0] != answerVersion {
			t.Fatalf("%x is the answer %+v", in, decoded)
		}
		again, err := decodeAnswer(decoded.encode())
		if err != nil || !reflect.DeepEqual(again.header, decoded.header) || !bytes.Equal(again.body, decoded.body) || again.status != decoded.status {
			t.Fatalf("%+v becomes %+v, %v", decoded, again, err)
		}
	})
}

// An answer opens for its own record only, and not when a byte was changed.
func TestSealedAnswers(t *testing.T) {
	sealed, err := newKeys("a secret of 16 bytes", true)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := newKeys("a secret of 16 bytes", false)
	if err != nil {
		t.Fatal(err)
	}
	envelope := sealed.seal("id", []byte("an answer"))
	if bytes.Contains(envelope, []byte("answer")) {
		t.Fatal("the answer is not encrypted")
	}
	if got, err := sealed.open("id", envelope); err != nil || string(got) != "an answer" {
		t.Fatalf("%q, %v", got, err)
	}
	if got, err := sealed.open("id", plain.seal("id", []byte("an operator's"))); err != nil || string(got) != "an operator's" {
		t.Fatalf("one that is not encrypted: %q, %v", got, err)
	}
	changed := bytes.Clone(envelope)
	changed[len(changed)-1] ^= 1
	for name, open := range map[string]func() ([]byte, error){
		"of another record": func() ([]byte, error) { return sealed.open("other", envelope) },
		"changed":           func() ([]byte, error) { return sealed.open("id", changed) },
		"cut":               func() ([]byte, error) { return sealed.open("id", envelope[:5]) },
		"empty":             func() ([]byte, error) { return sealed.open("id", nil) },
		"without the key":   func() ([]byte, error) { return plain.open("id", envelope) },
		"of another kind":   func() ([]byte, error) { return sealed.open("id", []byte("zzz")) },
	} {
		if got, err := open(); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Names depend on every part, and on where one ends.
func TestNames(t *testing.T) {
	k, err := newKeys("", false)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newKeys("a secret of 16 bytes", false)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, name := range []string{
		k.name("", identity{"user", "a"}, "k"), k.name("r", identity{"user", "a"}, "k"), k.name("", identity{"user", "b"}, "k"),
		k.name("", identity{"scope", "a"}, "k"), k.name("", identity{"user", "ak"}, ""), k.name("", identity{"user", "a"}, "l"),
		other.name("", identity{"user", "a"}, "k"), k.name("user", identity{"a", ""}, "k"),
	} {
		if seen[name] || len(name) != 32 {
			t.Errorf("%s is the name of two", name)
		}
		seen[name] = true
	}
}

// Whatever is written, the parser returns: with an error that says where, or with a configuration that survives JSON.
func FuzzCaddyfile(f *testing.F) {
	for _, seed := range []string{
		"idempotency_key", "idempotency_key {\n require /a /b\n ttl 1h\n lease 5s\n wait 0s\n on_unknown probe /x\n}",
		"idempotency_key {\n methods GET\n}", "idempotency_key {\n secret x\n}", "idempotency_key {\n on_unknown\n}", "idempotency_key {\n fields *\n}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h := new(Handler)
		if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
			return
		}
		encoded, err := json.Marshal(h)
		if err != nil {
			t.Fatalf("%q was accepted and has no JSON: %v", text, err)
		}
		if err := json.Unmarshal(encoded, new(Handler)); err != nil {
			t.Fatalf("%q was accepted and its JSON %s is not: %v", text, encoded, err)
		}
	})
}
