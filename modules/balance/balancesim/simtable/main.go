// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Command simtable prints how the selection policies do in simulated pools, and checks the promised figures. It exits with 1
// when one is missed.
//
// The environment says what to run: SEEDS (1,2,3), SCENARIOS (a JSON file, see balancesim.File), POLICIES (names), and
// SET: heldout (the default: seeds and scenarios that no parameter was chosen on), or tuning.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-proxy/gatehouse/modules/balance/balancesim"
	"github.com/gatehouse-proxy/gatehouse/modules/balance/estimator"
)

func main() {
	missed, err := run(os.Stdout, os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "simtable:", err)
		os.Exit(2)
	}
	if missed > 0 {
		fmt.Fprintf(os.Stderr, "simtable: %d figures are missed\n", missed)
		os.Exit(1)
	}
}

func run(out io.Writer, env func(string) string) (missed int, err error) {
	cases, seeds, err := choose(env)
	if err != nil {
		return 0, err
	}
	all := append(balancesim.Rivals(), balancesim.Ours(estimator.Params{})...)
	rivals, err := named(all, env("POLICIES"))
	if err != nil {
		return 0, err
	}
	w := bufio.NewWriter(out)
	defer func() { err = errors.Join(err, w.Flush()) }()
	fmt.Fprintf(w, "# Seeds %v; latencies are means over the seeds, shares and errors the worst of them where a figure is about them.\n", seeds)
	for _, c := range cases {
		results, err := balancesim.Evaluate(c, rivals, seeds)
		if err != nil {
			return missed, err
		}
		m, err := balancesim.Print(w, c, rivals, results)
		if err != nil {
			return missed, err
		}
		missed += m
		if err := w.Flush(); err != nil {
			return missed, fmt.Errorf("writing the table: %w", err)
		}
	}
	return missed, nil
}

// choose reads what to run from the environment.
func choose(env func(string) string) ([]balancesim.Case, []uint64, error) {
	seeds := balancesim.HeldOutSeeds()
	var cases []balancesim.Case
	switch set := env("SET"); set {
	case "", "heldout":
		cases = append(balancesim.Standard(balancesim.Tuning()), balancesim.Standard(balancesim.HeldOut())...)
	case "tuning":
		cases, seeds = balancesim.Standard(balancesim.Tuning()), balancesim.TuningSeeds()
	default:
		return nil, nil, fmt.Errorf("SET=%s: neither heldout nor tuning", set)
	}
	if path := env("SCENARIOS"); path != "" {
		scenarios, err := read(path)
		if err != nil {
			return nil, nil, fmt.Errorf("SCENARIOS=%s: %w", path, err)
		}
		cases = nil
		for _, sc := range scenarios {
			cases = append(cases, balancesim.Case{Scenario: sc})
		}
	}
	if list := env("SEEDS"); list != "" {
		seeds = nil
		for s := range strings.SplitSeq(list, ",") {
			n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
			if err != nil {
				return nil, nil, fmt.Errorf("SEEDS=%s: %w", list, err)
			}
			seeds = append(seeds, n)
		}
	}
	return cases, seeds, nil
}

func read(path string) ([]balancesim.Scenario, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return balancesim.ReadFile(f)
}

// named returns the policies in list, or all if it is empty. Those that figures are stated against always run.
func named(all []balancesim.Rival, list string) ([]balancesim.Rival, error) {
	if list == "" {
		return all, nil
	}
	wanted := strings.Split(list, ",")
	for _, name := range wanted {
		if !slices.ContainsFunc(all, func(r balancesim.Rival) bool { return r.Name == name }) {
			var known []string
			for _, r := range all {
				known = append(known, r.Name)
			}
			return nil, fmt.Errorf("POLICIES: there is no %q, only %s", name, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(all, func(r balancesim.Rival) bool {
		return !slices.Contains(wanted, r.Name) && r.Name != "oracle" && r.Name != "least_conn"
	}), nil
}
