// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package processors

import "time"

const (
	interval = 20 * time.Millisecond  // between two looks
	sitting  = interval / 4           // for so long a processor is occupied without a break: less than Go's patience of 10 ms
	rest     = 100 * time.Millisecond // between two looks while there is nothing to do, or to decide
	calm     = time.Second            // for so long less must do before there are fewer

	weight = 0.2 // of the newest look in the moving averages

	// Shares of the cores in use, by which the number changes. A queue in front of one core at half its capacity is shorter
	// than a request; when all are busy, nobody knows how much work waits, so that all cores get it.
	busy, full, quiet = 0.6, 0.8, 0.4

	queue = 8    // goroutines that wait for each core in use: more means that there are too few cores
	idle  = 0.01 // of a core
)

// look is what was seen since the one before.
type look struct {
	cores    float64 // CPU time of the process by the time that passed
	runnable float64 // goroutines that wait for a core now
	passed   time.Duration
}

// governor decides how many cores are used. It reads no clock and sets nothing.
type governor struct {
	least, most int
	now         int // in use

	cores, runnable float64       // moving averages
	sum             float64       // of cores, weighted by time, since the number changed last or a second ended
	since           time.Duration // that sum is of
}

// next takes a look into account and returns how many cores to use from now on.
func (g *governor) next(l look) int {
	g.cores += weight * (l.cores - g.cores)
	g.runnable += weight * (l.runnable - g.runnable)
	g.sum += l.cores * l.passed.Seconds()
	g.since += l.passed
	switch {
	case g.now < g.most && g.short():
		g.set(g.more(l))
	case g.since >= calm:
		fewer := max(g.least, g.now/2)
		if g.sum/g.since.Seconds() < quiet*float64(fewer) && g.runnable < float64(fewer) {
			g.set(fewer)
		}
		g.sum, g.since = 0, 0
	}
	return g.now
}

// short reports whether there is more to do than the cores in use do with ease.
func (g *governor) short() bool {
	n := float64(g.now)
	return g.cores > busy*n || g.runnable > queue*n
}

// more returns how many cores there should be when there are too few.
func (g *governor) more(l look) int {
	if l.cores > full*float64(g.now) {
		return g.most
	}
	n := 2 * g.now
	for g.cores > busy*float64(n) {
		n *= 2
	}
	return min(n, g.most)
}

func (g *governor) set(n int) { g.now, g.sum, g.since = n, 0, 0 }

// processors returns how many Go is to have: spare ones are occupied while not all cores are in use.
func (g *governor) processors(spare int) int {
	if g.now == g.most {
		return g.most
	}
	return g.now + spare
}

// pause returns the time until the next look.
func (g *governor) pause(l look) time.Duration {
	if g.least == g.most || l.cores < idle && l.runnable == 0 {
		return rest
	}
	return interval
}
