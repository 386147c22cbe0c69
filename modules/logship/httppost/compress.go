// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package httppost

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Content codings.
const (
	// Zstd compresses access logs to a tenth at some 200 MB/s a core.
	Zstd = "zstd"
	// Gzip is understood by every receiver, at about the same speed and size.
	Gzip = "gzip"
	// None sends as it is.
	None = "none"
)

// window is how far back zstd looks, in bytes: a batch is not much longer, and more would cost memory only.
const window = 512 << 10

var codings = []string{Zstd, Gzip, None}

// Compressor compresses one text after another. It is not safe for concurrent use.
type Compressor struct {
	coding string
	zstd   *zstd.Encoder
	gzip   *gzip.Writer
	out    bytes.Buffer // of gzip
	buf    []byte       // of zstd
}

// NewCompressor returns a compressor for a content coding, at its fastest level: the text is repetitive enough.
func NewCompressor(coding string) (*Compressor, error) {
	c := &Compressor{coding: coding}
	var err error
	switch coding {
	case None:
	case Zstd:
		c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(window))
	case Gzip:
		c.gzip, err = gzip.NewWriterLevel(&c.out, gzip.BestSpeed)
	default:
		err = fmt.Errorf("unknown content coding %q", coding)
	}
	return c, err
}

// Compress returns the compressed text, which is valid until the next call.
func (c *Compressor) Compress(text []byte) ([]byte, error) {
	switch {
	case c.zstd != nil:
		c.buf = c.zstd.EncodeAll(text, c.buf[:0])
		return c.buf, nil
	case c.gzip != nil:
		c.out.Reset()
		c.gzip.Reset(&c.out)
		if _, err := c.gzip.Write(text); err != nil {
			return nil, fmt.Errorf("compressing: %w", err)
		}
		if err := c.gzip.Close(); err != nil {
			return nil, fmt.Errorf("compressing: %w", err)
		}
		return c.out.Bytes(), nil
	}
	return text, nil
}

// Coding is the value of Content-Encoding, empty for none.
func (c *Compressor) Coding() string {
	if c.coding == None {
		return ""
	}
	return c.coding
}
