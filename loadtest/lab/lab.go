// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package lab is what the load tests share: programs that are built, started, watched and ended, upstreams whose faults
// are set, generators of requests, and reports that say where their figures are from.
package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// ErrMissed is the end of a run that measured what is worse than promised.
var ErrMissed = errors.New("a promised figure was missed")

// Main runs a program until it ends, or a signal has it stop; a second signal ends the process at once.
func Main(run func(ctx context.Context, args []string, stdout, stderr io.Writer) (status int)) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Status does what a command line asks for, unless its parser returned an error. The result is the program's exit status: 2 for
// a wrong command line, 1 for a failure, whose error it prints in one line that begins with the program's name.
func Status(name string, stderr io.Writer, parsing error, do func() error) int {
	status, err := 2, parsing
	if err == nil {
		status, err = 1, do()
	}
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	Say(stderr, "%s: %v", name, err)
	return status
}

// Each does one thing with all of them, at once, and returns their errors.
func Each[T any](all []T, do func(T) error) error {
	errs := make([]error, len(all))
	var group sync.WaitGroup
	for i, one := range all {
		group.Go(func() { errs[i] = do(one) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// Say prints a line of progress. It drops the error: with stderr gone, the status is what remains.
func Say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }

// Named is what can be chosen on the command line.
type Named interface{ Key() string }

// Names lists them, separated by commas.
func Names[T Named](all []T) string {
	list := make([]string, 0, len(all))
	for _, v := range all {
		list = append(list, v.Key())
	}
	return strings.Join(list, ",")
}

// Only keeps those whose names stand in list, or all if it is empty.
func Only[T Named](all []T, list string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	wanted := strings.Split(list, ",")
	for _, name := range wanted {
		if !slices.ContainsFunc(all, func(v T) bool { return v.Key() == name }) {
			return nil, fmt.Errorf("%q is none of %s", name, Names(all))
		}
	}
	return slices.DeleteFunc(all, func(v T) bool { return !slices.Contains(wanted, v.Key()) }), nil
}

// Rounds is how often to measure: what a flag says, else $ROUNDS, else the standard. A flag of 0 says nothing.
func Rounds(flagged, standard int) (int, error) {
	env := os.Getenv("ROUNDS")
	switch {
	case flagged < 0:
		return 0, errors.New("-rounds must be above 0")
	case flagged > 0:
		return flagged, nil
	case env == "":
		return standard, nil
	}
	n, err := strconv.Atoi(env)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("ROUNDS: %q is no number of rounds", env)
	}
	return n, nil
}

// Short is the default of a program's -short.
func Short() bool { return os.Getenv("SHORT") == "1" }

// EnoughCores is an error on a machine, or in a cpuset, with one core, save for a short run.
func EnoughCores(short bool) error {
	if runtime.NumCPU() > 1 || short {
		return nil
	}
	return errors.New("this machine has one core, which the load would share with what it measures: give it two, " +
		"or use SHORT=1 to see that it works")
}

// Interrupted is what a run that a signal ended has to say: not that what it was doing failed.
func Interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// Parse reads a command line without positional arguments. The error is for the caller to print, in one line.
func Parse(set *flag.FlagSet, args []string, help io.Writer) error {
	set.SetOutput(io.Discard)
	err := set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		set.SetOutput(help)
		set.PrintDefaults()
	}
	if err == nil && set.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	return err
}
