// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

// Package loki is the log sink `loki`: it pushes lines to Grafana Loki, or to whatever takes the JSON form of its push API.
package loki

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/logship"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/httppost"
)

const (
	// pushPath is where Loki takes lines.
	pushPath = "/loki/api/v1/push"
	// tenantHeader names the tenant.
	tenantHeader = "X-Scope-OrgID"
	// maxAnswer is read of an answer, in bytes: there should be none.
	maxAnswer = 4 << 10
	// tooLarge is in Loki's answer, of status 500, to a batch that is longer than what its parts send each other.
	tooLarge = "message larger than max"
)

func init() { caddy.RegisterModule(Sink{}) }

// Sink pushes lines to Loki, with the labels `job` ("gatehouse") and `node`, and those of the configuration. A line has the
// time at which it was written, in nanoseconds, and Loki drops one that it has in the same stream with the same time, so a
// line that is sent again is there once.
//
// Loki keeps an index entry and a chunk in memory for each combination of label values, so a label's values are listed here
// and can be no others. What has many values belongs into Metadata, or stays in the line, where queries find it.
type Sink struct {
	// Config says where to send: the URL is Loki's, or that of the push API. Its compression is `gzip` or `none`; default:
	// gzip.
	httppost.Config
	// Tenant is sent as X-Scope-OrgID. Placeholders of the process are expanded when the config is loaded. Default: none.
	Tenant string `json:"tenant,omitempty"`
	// Labels are labels of every line; placeholders of the process in their values are expanded when the config is loaded.
	// `job` and `node` can be replaced. Default: none.
	Labels map[string]string `json:"labels,omitempty"`
	// LabelFields are labels whose values come from the line. All labels are 15 at most, as Loki's default limit is, and
	// their values make 1000 streams at most. Default: none.
	LabelFields []LabelField `json:"label_fields,omitempty"`
	// Metadata are fields of the line that are sent as structured metadata too: its strings and numbers are found there
	// without parsing lines. Of a value, 4 KiB are sent, of all of a line
	// 48 KiB. A path into objects is written `request>host`; a field that a
	// line lacks is left out. At most 32. Loki takes them from version 3, or 2.9 if told to. Default: none.
	Metadata []string `json:"metadata,omitempty"`

	client *httppost.Client
	push   push
}

// LabelField is a label that takes one of a few values from a field of the line.
type LabelField struct {
	// Label is the label's name.
	Label string `json:"label,omitempty"`
	// Field is where the value is: the name of a field or, in objects, a path such as `request>method`.
	Field string `json:"field,omitempty"`
	// Values are the values that the label may have. Any other one is "other", also that of a line that has no such field.
	Values []string `json:"values,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Sink) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: logship.Namespace + ".loki", New: func() caddy.Module { return new(Sink) }}
}

// UnmarshalCaddyfile reads the sink's options. Syntax:
//
//	sink loki <url> {
//		tenant <id>
//		label <name> <value>
//		label_field <name> <field> <values...>
//		metadata <fields...>
//		header <name> <value>
//		basic_auth <username> <password>
//		bearer <token>
//		compress gzip|none
//		tls_ca <file>
//		tls_client_auth <cert> <key>
//		tls_insecure_skip_verify
//	}
//
// `label`, `label_field`, `metadata` and `header` may be repeated.
func (s *Sink) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := directive.Arg(d, &s.URL, httppost.URL); err != nil {
		return err
	}
	options := s.Directives(d)
	maps.Copy(options, directive.Options{
		"tenant":      func() error { return directive.Arg(d, &s.Tenant, directive.Word) },
		"label":       func() error { return s.parseLabel(d) },
		"label_field": func() error { return s.parseLabelField(d) },
		"metadata":    func() error { return directive.Args(d, &s.Metadata, field) },
		"compress":    func() error { return directive.Arg(d, &s.Compress, compression) },
	})
	if err := directive.Block(d, options, "label", "label_field", "metadata", "header"); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return d.Errf("sink loki: %v", err)
	}
	return nil
}

// compression accepts what Loki understands of JSON.
func compression(s string) (string, error) { return directive.OneOf(httppost.Gzip, httppost.None)(s) }

func (s *Sink) parseLabel(d *caddyfile.Dispenser) error {
	var name, value string
	if !d.AllArgs(&name, &value) {
		return d.Err("label: expected a name and a value")
	}
	if _, given := s.Labels[name]; given {
		return d.Errf("label %q is given twice", name)
	}
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.Labels[name] = value
	return nil
}

func (s *Sink) parseLabelField(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 3 {
		return d.Err("label_field: expected a name, a field, and the values that the label may have")
	}
	s.LabelFields = append(s.LabelFields, LabelField{Label: args[0], Field: args[1], Values: args[2:]})
	return nil
}

// Provision implements caddy.Provisioner. It does not connect.
func (s *Sink) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()
	expand := func(name string, value string) (string, error) {
		expanded, err := repl.ReplaceOrErr(value, true, true)
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		return expanded, nil
	}
	labels := make(map[string]string, len(s.Labels))
	for name, value := range s.Labels {
		expanded, err := expand("label "+name, value)
		if err != nil {
			return err
		}
		labels[name] = expanded
	}
	config := s.Config
	var err error
	if config.URL, err = expand("url", s.URL); err != nil {
		return err
	}
	if s.Tenant != "" {
		config.Headers = map[string]string{tenantHeader: s.Tenant}
		maps.Copy(config.Headers, s.Headers)
	}
	if err := s.check(); err != nil {
		return err
	}
	if config.URL, err = pushURL(config.URL); err != nil {
		return err
	}
	s.push = newPush(labels, s.LabelFields, s.Metadata)
	s.client, err = httppost.NewClient(config, httppost.Gzip, maxAnswer)
	return err
}

// pushURL completes a URL that names the server alone.
func pushURL(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", errors.New("url: expected one such as http://loki.example:3100")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = pushPath
	}
	return u.String(), nil
}

// check finds what is wrong whatever the values of placeholders will be.
func (s *Sink) check() error {
	if s.Compress != "" {
		if _, err := compression(s.Compress); err != nil {
			return fmt.Errorf("compress: %w", err)
		}
	}
	return cmp.Or(checkLabels(s.Labels, s.LabelFields), checkMetadata(s.Metadata))
}

// Cleanup implements caddy.CleanerUpper.
func (s *Sink) Cleanup() error {
	if s.client != nil {
		s.client.Close()
	}
	return nil
}

// Send implements logship.Sink. Loki acknowledges by an empty answer; what it refuses of a batch, it names only in words, so
// the batch is sent in halves then.
func (s *Sink) Send(ctx context.Context, batch *logship.Batch) error {
	answer, err := s.client.Post(ctx, "application/json", "", func(dst []byte) []byte { return s.push.append(dst, batch) })
	var status *httppost.StatusError
	switch {
	case err == nil && len(answer) > 0:
		return fmt.Errorf("the server's answer has %d bytes, where Loki's is empty", len(answer))
	case errors.As(err, &status) && strings.Contains(status.Answer, tooLarge):
		return &logship.Rejection{Err: err} // tried again as it is, it would be for ever
	}
	return err
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Sink)(nil)
	_ caddy.CleanerUpper    = (*Sink)(nil)
	_ caddyfile.Unmarshaler = (*Sink)(nil)
	_ logship.Sink          = (*Sink)(nil)
)
