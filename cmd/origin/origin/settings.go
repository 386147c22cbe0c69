// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Bounds of Settings; see the fields.
const (
	maxWorkers      = 10_000
	maxSettingsBody = 64 << 10
)

// Settings is the behavior of one listener. All of it can be changed while the listener serves, through
// Listener.Set or PUT and PATCH /_origin/settings. The zero value answers at once and never fails.
//
// Random choices are drawn for each request from the listener's own seeded source, in the order the requests arrive,
// so that a run with the same seed and the same arrivals meets the same fate.
type Settings struct {
	// How long a request keeps its worker busy before its effect: "none", "const:5ms", "exp:10ms" (mean) or
	// "lognormal:10ms,1" (mean, sigma of the underlying normal). Draws are cut at ten minutes. Default: none.
	Latency string `json:"latency"`

	// The share of requests, 0 to 1, answered with error_status at once: before the queue, the latency and any
	// effect. 1 makes the listener a black hole that answers faster than its healthy peers. Default: 0.
	ErrorRate float64 `json:"error_rate"`

	// The status of those errors, 400 to 599. Default, also for 0: 500.
	ErrorStatus int `json:"error_status"`

	// How many requests are worked on at a time; the others wait in the order they came. SSE and WebSocket take no
	// worker. At most 10000. Default: 0, no limit.
	Workers int `json:"workers"`

	// How long a response is held back after the effect and before its first byte, at most ten minutes. Its worker
	// stays busy. Default: 0, not at all.
	Stall Duration `json:"stall"`

	// The share of requests, above 0 to 1, that stall. Default, also for 0: 1, all of them, if stall is set.
	StallRate float64 `json:"stall_rate"`

	// Nothing starts, ends or moves for this long from the moment the setting is made, as in a process that was
	// stopped and continued; at most ten minutes. Reading the settings tells what is left. Default: 0, lifts it.
	Freeze Duration `json:"freeze"`

	// The share of requests, 0 to 1, whose connection is reset (TCP RST) after the effect, before the first byte of
	// the response. Default: 0.
	ResetAfterEffectRate float64 `json:"reset_after_effect_rate"`

	// The share of requests, 0 to 1, whose response body is cut in the middle and its connection closed: fewer bytes
	// than Content-Length says, or a chunked body without its last chunk. Default: 0.
	TruncateRate float64 `json:"truncate_rate"`

	// Whether /healthz answers 503 in place of 200. Nothing else changes it: active health checks that should see
	// the faults above can ask for any other path. Default: false.
	Unhealthy bool `json:"unhealthy"`
}

// Duration is a time.Duration that JSON shows and reads as text, such as "1.5s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("bad duration %q", text)
	}
	*d = Duration(v)
	return nil
}

// normalize fills in the defaults and checks every bound. The distribution is the parsed Latency.
func (s Settings) normalize() (Settings, distribution, error) {
	if s.ErrorStatus == 0 {
		s.ErrorStatus = http.StatusInternalServerError
	}
	if s.StallRate == 0 {
		s.StallRate = 1
	}
	latency, err := parseLatency(s.Latency)
	if err != nil {
		return s, latency, err
	}
	s.Latency = latency.String()
	if err := s.checkRates(); err != nil {
		return s, latency, err
	}
	return s, latency, s.checkBounds()
}

func (s Settings) checkRates() error {
	for _, rate := range []struct {
		name  string
		value float64
	}{
		{"error_rate", s.ErrorRate},
		{"stall_rate", s.StallRate},
		{"reset_after_effect_rate", s.ResetAfterEffectRate},
		{"truncate_rate", s.TruncateRate},
	} {
		if !(rate.value >= 0 && rate.value <= 1) { // the negation also refuses NaN
			return fmt.Errorf("%s: %v is outside 0 to 1", rate.name, rate.value)
		}
	}
	return nil
}

func (s Settings) checkBounds() error {
	if s.ErrorStatus < 400 || s.ErrorStatus > 599 {
		return fmt.Errorf("error_status: %d is outside 400 to 599", s.ErrorStatus)
	}
	if s.Workers < 0 || s.Workers > maxWorkers {
		return fmt.Errorf("workers: %d is outside 0 to %d", s.Workers, maxWorkers)
	}
	if err := checkWait(time.Duration(s.Stall)); err != nil {
		return fmt.Errorf("stall: %w", err)
	}
	if err := checkWait(time.Duration(s.Freeze)); err != nil {
		return fmt.Errorf("freeze: %w", err)
	}
	return nil
}

// ParseSettings reads settings from a JSON object as strictly as PUT /_origin/settings does. Bounds are checked when
// the settings are used.
func ParseSettings(body []byte) (Settings, error) { return decodeSettings(Settings{}, body) }

// decodeSettings reads one JSON object over base: fields that it leaves out keep base's value. Unknown fields and
// anything after the object are errors, so that a misspelled fault does not pass for a healthy server.
func decodeSettings(base Settings, body []byte) (Settings, error) {
	if trimmed := bytes.TrimSpace(body); len(trimmed) == 0 || trimmed[0] != '{' {
		return base, errors.New("want a JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&base); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			return base, fmt.Errorf("%s: a %s does not fit", wrongType.Field, wrongType.Value)
		}
		return base, fmt.Errorf("decoding settings: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return base, errors.New("more than one JSON value")
	}
	return base, nil
}

// serveSettings answers GET, PUT (what is left out takes its default) and PATCH (what is left out stays).
func (l *Listener) serveSettings(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut || r.Method == http.MethodPatch {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSettingsBody))
		if err != nil {
			badBody(w, err)
			return
		}
		if err := l.change(r.Method == http.MethodPatch, body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	writeJSON(w, http.StatusOK, l.Settings())
}

// change holds changing through reading and writing, so that two PATCH requests at once both take hold.
func (l *Listener) change(merge bool, body []byte) error {
	l.changing.Lock()
	defer l.changing.Unlock()
	var base Settings
	if merge {
		base = l.Settings()
	}
	s, err := decodeSettings(base, body)
	if err != nil {
		return err
	}
	return l.set(s)
}
