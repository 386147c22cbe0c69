// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package elasticsearch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-proxy/gatehouse/modules/logship"
)

// maxIndexName is the servers' limit, in bytes.
const maxIndexName = 255

// timestamp is the field that data streams ask for.
const timestamp = "@timestamp"

// indexName accepts what an index may be called, with %Y, %m and %d.
func indexName(s string) (string, error) {
	if strings.Contains(s, "{") {
		return s, nil // it is checked when its placeholders have their values
	}
	plain := strings.NewReplacer("%Y", "2006", "%m", "01", "%d", "02").Replace(s)
	switch {
	case plain == "" || len(plain) > maxIndexName || strings.ToLower(plain) != plain,
		strings.ContainsAny(plain, "\\/*?\"<>| ,#:%"), strings.ContainsFunc(plain, func(r rune) bool { return r < ' ' }),
		strings.ContainsRune("-_+.", rune(plain[0])), !utf8.ValidString(plain):
		return "", fmt.Errorf("expected the name of an index such as access-%%Y.%%m.%%d, in lower case, found %q", s)
	}
	return s, nil
}

// index makes the names of indices.
type index struct {
	layout string // of the name, with %Y, %m and %d
	dated  bool
	day    time.Time
	name   string // for that day
}

func newIndex(layout string) index {
	return index{layout: layout, dated: strings.Contains(layout, "%"), name: layout}
}

// at is the index of a line of this time. A line keeps its time, so one that is sent again goes to the same index.
func (x *index) at(t time.Time) string {
	if !x.dated {
		return x.name
	}
	if day := t.UTC().Truncate(24 * time.Hour); !day.Equal(x.day) {
		x.day = day
		x.name = strings.NewReplacer("%Y", day.Format("2006"), "%m", day.Format("01"), "%d", day.Format("02")).Replace(x.layout)
	}
	return x.name
}

// appendBulk appends an action and a document for each line. Neither a node's nor an index's name has anything to escape.
func appendBulk(dst []byte, x *index, batch *logship.Batch) []byte {
	for i := range batch.Lines {
		dst = append(dst, `{"create":{"_index":"`...)
		dst = append(dst, x.at(batch.Lines[i].Time)...)
		dst = append(dst, `","_id":"`...)
		dst = append(dst, batch.LineID(i)...)
		dst = append(dst, "\"}}\n"...)
		dst = appendDocument(dst, batch, i)
		dst = append(dst, '\n')
	}
	return dst
}

// appendDocument appends the line with its time. Bytes that are not UTF-8, of which the servers refuse the whole document,
// are replaced.
func appendDocument(dst []byte, batch *logship.Batch, i int) []byte {
	begin := len(dst)
	line := &batch.Lines[i]
	if !dated(line.Data) {
		dst = append(dst, `{"`+timestamp+`":"`...)
		dst = line.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
		dst = append(dst, '"')
	}
	brace := len(dst)
	dst = batch.AppendJSON(dst, i)
	if brace > begin {
		dst[brace] = ','
	}
	if !utf8.Valid(dst[begin:]) {
		dst = append(dst[:begin], bytes.ToValidUTF8(dst[begin:], []byte(string(utf8.RuneError)))...)
	}
	return dst
}

// dated reports whether the line has a field @timestamp of its own: the servers refuse one that is there twice.
func dated(data []byte) bool {
	if !bytes.Contains(data, []byte(`"`+timestamp+`"`)) {
		return false
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil {
		return false
	}
	_, ok := fields[timestamp]
	return ok
}
