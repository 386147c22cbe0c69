// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package reqlimit

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-proxy/gatehouse/modules/reqlimit/window"
)

// Kinds of headers that answers carry.
const (
	headersStandard = "standard" // RateLimit and RateLimit-Policy
	headersLegacy   = "legacy"   // X-RateLimit-*
	headersAll      = "all"
	headersNone     = "none"
)

// The fields of draft-ietf-httpapi-ratelimit-headers-10, as Go writes their names.
const (
	fieldRateLimit = "Ratelimit"
	fieldPolicy    = "Ratelimit-Policy"
)

// quotaName names a window: the policy's name where it is the only one, else the name with the window's period.
func quotaName(policy string, windows []window.Window, i int) string {
	if len(windows) == 1 {
		return policy
	}
	return policy + "-" + shortDuration(windows[i].Period)
}

// policyHeader writes the value of RateLimit-Policy (section 3 of the draft): a List of Strings (RFC 9651, section 3.1) with
// the quota q, the window w in seconds and, for concurrency, the unit qu. Policies' names consist of characters that a String
// may hold unescaped.
func policyHeader(policy, algorithm string, windows []window.Window) string {
	var b strings.Builder
	for i, w := range windows {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, `"%s";q=%d`, quotaName(policy, windows, i), w.Limit)
		if algorithm == Concurrency {
			b.WriteString(`;qu="concurrent-requests"`)
		} else {
			fmt.Fprintf(&b, ";w=%d", seconds(w.Period))
		}
	}
	return b.String()
}

// quotaNames are how the windows are called in the value of RateLimit, as the beginning of an item.
func quotaNames(policy string, windows []window.Window) []string {
	names := make([]string, len(windows))
	for i := range windows {
		names[i] = `"` + quotaName(policy, windows, i) + `";r=`
	}
	return names
}

// appendLimit appends the value of RateLimit (section 4 of the draft): what remains, and after how many seconds there is more.
func appendLimit(buf []byte, names []string, windows []window.Window, states []window.State) []byte {
	for i := range windows {
		if i > 0 {
			buf = append(buf, ", "...)
		}
		buf = append(buf, names[i]...)
		buf = strconv.AppendInt(buf, states[i].Remaining, 10)
		if windows[i].Period > 0 {
			buf = append(buf, ";t="...)
			buf = strconv.AppendInt(buf, seconds(states[i].Reset), 10)
		}
	}
	return buf
}

// seconds rounds up, so that nobody comes back too early.
func seconds(d time.Duration) int64 {
	s := int64(d / time.Second)
	if d%time.Second > 0 {
		s++
	}
	return s
}

// scarcest returns the window of which least is left.
func scarcest(windows []window.Window, states []window.State) int {
	least := 0
	for i := range windows {
		if states[i].Remaining < states[least].Remaining {
			least = i
		}
	}
	return least
}

// setLegacy sets the X-RateLimit fields, which no standard defines: the limit, what remains of it, and after how many seconds
// there is more, for the window of which least is left. A later policy on the same answer replaces an earlier one only if less
// remains of it.
func setLegacy(header http.Header, windows []window.Window, states []window.State) {
	i := scarcest(windows, states)
	if before, err := strconv.ParseInt(header.Get("X-RateLimit-Remaining"), 10, 64); err == nil && before <= states[i].Remaining {
		return
	}
	header.Set("X-RateLimit-Limit", strconv.FormatInt(windows[i].Limit, 10))
	header.Set("X-RateLimit-Remaining", strconv.FormatInt(states[i].Remaining, 10))
	header.Set("X-RateLimit-Reset", strconv.FormatInt(seconds(states[i].Reset), 10))
}

// retryAfter is the value of Retry-After (RFC 9110, section 10.2.3): at least one second, and no less than t of any window
// that has nothing left. A cost that never fits is told the window's period, for there is no value for never.
func retryAfter(r *window.Rule, result *window.Result) int64 {
	wait := result.Retry
	if wait == window.Never {
		wait = r.Windows[result.Violated].Period
	}
	most := max(seconds(wait), 1)
	for i := range r.Windows {
		if result.States[i].Remaining == 0 {
			most = max(most, seconds(result.States[i].Reset))
		}
	}
	return most
}
