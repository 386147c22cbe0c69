// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package adminclient is what the commands share: they ask the running proxy through its admin endpoint, and print tables
// or, with --json, what it answered.
//
// A command with sub-commands calls AddFlags once; each sub-command calls Ask, then Print. An error that is
// returned from cobra's RunE is printed to stderr, and the process exits with 1.
package adminclient

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// timeout bounds one exchange with the admin endpoint, which answers from memory or waits for a store's own deadline.
const timeout = 90 * time.Second

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 30

// AddFlags adds the flags that find the admin endpoint to a command and its sub-commands: --address and, to take it from a
// config file, --config and --adapter. They are the ones of Caddy's own commands.
func AddFlags(cmd *cobra.Command) {
	if !cmd.Runnable() {
		cmd.Args, cmd.RunE = cobra.ArbitraryArgs, unknown
	}
	f := cmd.PersistentFlags()
	f.String("address", "", "Address of the running proxy's admin endpoint (default "+caddy.DefaultAdminListen+")")
	f.StringP("config", "c", "", "Configuration file to read that address from")
	f.StringP("adapter", "a", "", "Name of the config adapter for that file")
}

// unknown is what a command does that is called without one of its sub-commands. Left to itself, cobra would print the help
// and report success, also where a script has misspelled one.
func unknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	return fmt.Errorf("unknown command %q; expected one of: %s", args[0], strings.Join(names, ", "))
}

// AddJSONFlag adds --json to a command whose answer is printed by Print.
func AddJSONFlag(cmd *cobra.Command) { cmd.Flags().Bool("json", false, "Print JSON") }

// Client sends requests to one admin endpoint.
type Client struct {
	origin string
	// sameOrigin says that requests name the origin, for endpoints with enforce_origin. On sockets that have no address
	// the endpoint knows no origin, and refuses any.
	sameOrigin bool
	http       http.Client
}

// New returns a client for the endpoint that the flags of AddFlags name. It does not connect.
func New(cmd *cobra.Command) (*Client, error) {
	var flags [3]string
	for i, name := range []string{"address", "config", "adapter"} {
		value, err := cmd.Flags().GetString(name)
		if err != nil {
			return nil, fmt.Errorf("BUG: AddFlags was not called: %w", err)
		}
		flags[i] = value
	}
	text, err := caddycmd.DetermineAdminAPIAddress(flags[0], nil, flags[1], flags[2])
	if err != nil {
		return nil, fmt.Errorf("finding the admin endpoint: %w", err)
	}
	address, err := caddy.ParseNetworkAddress(text)
	if err != nil || text == "off" || strings.Contains(text, "://") || address.PortRangeSize() > 1 {
		return nil, fmt.Errorf("%q is no address of an admin endpoint; expected host:port or unix//path", text)
	}
	return newClient(address), nil
}

func newClient(address caddy.NetworkAddress) *Client {
	target, origin := address.JoinHostPort(0), "http://127.0.0.1" // the host that the endpoint accepts on other sockets
	named := !address.IsUnixNetwork() && !address.IsFdNetwork()
	if address.IsUnixNetwork() {
		target, _, _ = strings.Cut(target, "|") // the socket's permissions
	} else if named {
		origin = "http://" + target
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, address.Network, target)
	}
	return &Client{
		origin:     origin,
		sameOrigin: named,
		http:       http.Client{Timeout: timeout, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
	}
}

// Error is a refusal of the admin endpoint.
type Error struct {
	// Status is the HTTP status code.
	Status int
	// Message is what the endpoint says about it.
	Message string
}

// Error implements error. It is the message alone, which is written for whoever runs the command.
func (e *Error) Error() string { return e.Message }

// Do sends in as JSON, unless it is nil, and decodes the answer into out, unless that is nil. A status of 400 or above is
// an *Error.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.origin+path, &body)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	if c.sameOrigin {
		req.Header.Set("Origin", c.origin)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("asking the running proxy (is it running, and is --address its admin endpoint?): %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if resp.StatusCode >= 400 {
		return &Error{resp.StatusCode, message(resp.Status, answer)}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("decoding the answer: %w", err)
	}
	return nil
}

// Ask sends one request, as Do does, to the endpoint that the command's flags name.
func Ask(cmd *cobra.Command, method, path string, in, out any) error {
	client, err := New(cmd)
	if err != nil {
		return err
	}
	return client.Do(cmd.Context(), method, path, in, out)
}

// Pages gets a whole list, page by page. read takes a page apart: what it lists and, unless it is the last one, what the
// query's parameter asks for the next one with. A list without an entry is empty, not nil, for JSON.
func Pages[P, E any](cmd *cobra.Command, path string, query url.Values, parameter string, read func(page *P) ([]E, string)) ([]E, error) {
	client, err := New(cmd)
	if err != nil {
		return nil, err
	}
	for all := []E{}; ; {
		var page P
		if err := client.Do(cmd.Context(), http.MethodGet, path+"?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		entries, next := read(&page)
		if all = append(all, entries...); next == "" {
			return all, nil
		}
		query.Set(parameter, next)
	}
}

// message takes the text out of a caddy.APIError, or makes one for an endpoint that does not know the path.
func message(status string, answer []byte) string {
	var refusal struct {
		Error string `json:"error"` // the text of a caddy.APIError
	}
	if json.Unmarshal(answer, &refusal) == nil && refusal.Error != "" {
		return refusal.Error
	}
	return fmt.Sprintf("the admin endpoint answered %s %s", status, bytes.TrimSpace(answer[:min(len(answer), 500)]))
}
