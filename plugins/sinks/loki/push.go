// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package loki

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-proxy/gatehouse/modules/logship"
)

const (
	// maxValue is how much of a field's value is sent as metadata, in bytes.
	maxValue = 4 << 10
	// maxValues is how much of all fields' values: Loki refuses a line with more than 64 KiB, names included.
	maxValues = 48 << 10
)

// push writes bodies of the push API:
//
//	{"streams":[{"stream":{<labels>},"values":[["<Unix time, ns>","<line>",{<metadata>}],...]},...]}
type push struct {
	fixed    map[string]string
	fields   []labelField
	metadata []metadataField
	node     string // whose labels are in head
	head     string // the labels that all lines have, as JSON without the closing brace
	line     []byte
}

type labelField struct {
	name   string // as JSON
	path   []string
	values []string
}

type metadataField struct {
	name string // as JSON
	path []string
}

func newPush(fixed map[string]string, fields []LabelField, metadata []string) push {
	p := push{fixed: fixed}
	for _, l := range fields {
		p.fields = append(p.fields, labelField{name: text(l.Label), path: strings.Split(l.Field, ">"), values: l.Values})
	}
	for _, m := range metadata {
		p.metadata = append(p.metadata, metadataField{name: text(metadataName(m)), path: strings.Split(m, ">")})
	}
	return p
}

// text is a JSON string.
func text(s string) string { return string(appendString(nil, []byte(s))) }

// append appends a body: the batch's streams in the order of their first lines.
func (p *push) append(dst []byte, batch *logship.Batch) []byte {
	p.name(batch.Node)
	var order []string
	values := map[string][]byte{}
	for i := range batch.Lines {
		fields := p.parse(batch.Lines[i].Data)
		labels := p.labels(fields)
		stream, ok := values[labels]
		if !ok {
			order = append(order, labels)
		} else {
			stream = append(stream, ',')
		}
		values[labels] = p.entry(stream, batch, i, fields)
	}
	dst = append(dst, `{"streams":[`...)
	for i, labels := range order {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"stream":`...)
		dst = append(dst, labels...)
		dst = append(dst, `,"values":[`...)
		dst = append(dst, values[labels]...)
		dst = append(dst, `]}`...)
	}
	return append(dst, `]}`...)
}

// name makes the labels that all lines of a node have, in an order that does not change.
func (p *push) name(node string) {
	if p.node == node && p.head != "" {
		return
	}
	p.node = node
	all := map[string]string{"job": "gatehouse", "node": node}
	maps.Copy(all, p.fixed)
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		pairs = append(pairs, text(name)+":"+text(all[name]))
	}
	p.head = "{" + strings.Join(pairs, ",")
}

// parse reads the line's fields if any is asked for. A line that is no object has none.
func (p *push) parse(data []byte) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	if len(p.fields)+len(p.metadata) == 0 || json.Unmarshal(data, &fields) != nil {
		return nil
	}
	return fields
}

// labels is the stream of a line, as JSON.
func (p *push) labels(fields map[string]json.RawMessage) string {
	if len(p.fields) == 0 {
		return p.head + "}"
	}
	var b strings.Builder
	b.WriteString(p.head)
	for _, l := range p.fields {
		value, _ := lookup(fields, l.path)
		if !slices.Contains(l.values, value) {
			value = other
		}
		b.WriteString("," + l.name + ":" + text(value))
	}
	b.WriteByte('}')
	return b.String()
}

// entry appends a line with its time and its metadata.
func (p *push) entry(dst []byte, batch *logship.Batch, i int, fields map[string]json.RawMessage) []byte {
	p.line = batch.AppendJSON(p.line[:0], i)
	dst = append(dst, `["`...)
	dst = strconv.AppendInt(dst, batch.Lines[i].Time.UnixNano(), 10)
	dst = append(dst, `",`...)
	dst = appendString(dst, p.line)
	separator, sum := `,{`, 0
	for _, m := range p.metadata {
		value, ok := lookup(fields, m.path)
		value = value[:min(len(value), maxValue)]
		if sum += len(value); !ok || sum > maxValues {
			continue
		}
		dst = append(dst, separator...)
		dst = append(dst, m.name...)
		dst = append(dst, ':')
		dst = appendString(dst, []byte(value))
		separator = ","
	}
	if separator == "," {
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// lookup finds the value at a path: a string's text, the text of the only string in an array, as Caddy logs header fields, or
// any other value's JSON. Null is no value.
func lookup(fields map[string]json.RawMessage, path []string) (string, bool) {
	raw, ok := fields[path[0]]
	for _, name := range path[1:] {
		var inner map[string]json.RawMessage
		if !ok || json.Unmarshal(raw, &inner) != nil {
			return "", false
		}
		raw, ok = inner[name]
	}
	if !ok || string(raw) == "null" {
		return "", false
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return one, true
	}
	var list []string
	if json.Unmarshal(raw, &list) == nil && len(list) == 1 {
		return list[0], true
	}
	return string(raw), true
}
