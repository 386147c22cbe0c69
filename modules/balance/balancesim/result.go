// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balancesim

import "slices"

// Result is what the clients saw in one run, or the average over runs. Latencies are in milliseconds.
type Result struct {
	// Mean, P50, P99 and P999 are latencies of the counted requests, failed ones too.
	Mean, P50, P99, P999 float64
	// Failed is the share of counted requests that a server answered with a failure, 0 to 1.
	Failed float64
	// Refused is the number of requests in the whole run that the proxy answered 503 by itself.
	Refused float64
	// Copies is the number of copies sent in the whole run.
	Copies float64
	// Requests is the number of counted requests.
	Requests float64
	// Share is each server's part of the counted requests, 0 to 1.
	Share []float64
	// LeastShare and MostShare are the least and the largest share of a server; over runs, the worst ones.
	LeastShare, MostShare float64
	// MostEjected is the largest number of servers ejected at a time, of policies that eject; over runs, the worst.
	MostEjected float64
	// Errors is the number of clients' requests that each server failed in the whole run.
	Errors []float64
}

type serverTally struct{ requests, errors int }

// tally gathers a run's figures.
type tally struct {
	latencies       []float64
	failed          int
	refused, copies int
	perServer       []serverTally
}

func (t *tally) add(a answer) {
	t.latencies = append(t.latencies, float64(a.at-a.arrived)/1e6)
	t.failed += count(a.failed)
	t.perServer[a.server].requests++
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (t *tally) result() Result {
	r := Result{Refused: float64(t.refused), Copies: float64(t.copies), Requests: float64(len(t.latencies))}
	n := max(1, len(t.latencies))
	for _, s := range t.perServer {
		r.Share = append(r.Share, float64(s.requests)/float64(n))
		r.Errors = append(r.Errors, float64(s.errors))
	}
	r.LeastShare, r.MostShare = slices.Min(r.Share), slices.Max(r.Share)
	r.Failed = float64(t.failed) / float64(n)
	if len(t.latencies) == 0 {
		return r
	}
	slices.Sort(t.latencies)
	quantile := func(q float64) float64 { return t.latencies[min(n-1, int(q*float64(n)))] }
	r.P50, r.P99, r.P999 = quantile(.5), quantile(.99), quantile(.999)
	for _, l := range t.latencies {
		r.Mean += l / float64(n)
	}
	return r
}

// Average returns the mean of each figure over runs of one scenario, save those that are promised for every single run
// (Errors, LeastShare, MostShare, MostEjected): of these the worst counts.
func Average(runs []Result) Result {
	n := float64(len(runs))
	avg := Result{Share: make([]float64, len(runs[0].Share)), Errors: make([]float64, len(runs[0].Errors))}
	avg.LeastShare = 1
	for _, r := range runs {
		avg.LeastShare = min(avg.LeastShare, r.LeastShare)
		avg.MostShare = max(avg.MostShare, r.MostShare)
		avg.MostEjected = max(avg.MostEjected, r.MostEjected)
		avg.Mean += r.Mean / n
		avg.P50 += r.P50 / n
		avg.P99 += r.P99 / n
		avg.P999 += r.P999 / n
		avg.Failed += r.Failed / n
		avg.Refused += r.Refused / n
		avg.Copies += r.Copies / n
		avg.Requests += r.Requests / n
		for i := range r.Share {
			avg.Share[i] += r.Share[i] / n
			avg.Errors[i] = max(avg.Errors[i], r.Errors[i])
		}
	}
	return avg
}
