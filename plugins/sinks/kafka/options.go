// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/gatehouse-proxy/gatehouse/modules/directive"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/httppost"
)

// Values of Sink.Mechanism.
const (
	mechanismPlain    = "plain"
	mechanismScram256 = "scram-sha-256"
	mechanismScram512 = "scram-sha-512"
)

const (
	dialTimeout = 5 * time.Second
	// requestTimeout bounds what a broker may take for a request, beyond the time it was asked to wait for replicas.
	requestTimeout = 10 * time.Second
	// maxBackoff bounds the waits between tries to reach a broker: it is to be found soon after it is back.
	maxBackoff = time.Second
	// maxBuffered is more than a batch has lines.
	maxBuffered = 1 << 20
	// maxRead bounds what is read of a broker's answer, in bytes: one that lies about its length is not believed.
	maxRead = 8 << 20
	// minMessage keeps max_message_size from refusing every line.
	minMessage = 4 << 10
)

// codec and mechanism accept what there is.
func codec(s string) (string, error) {
	return directive.OneOf("zstd", "lz4", "snappy", "gzip", "none")(s)
}

func mechanism(s string) (string, error) {
	return directive.OneOf(mechanismPlain, mechanismScram256, mechanismScram512)(s)
}

// check finds what is wrong whatever the values of placeholders will be.
func (s *Sink) check() error {
	if len(s.Brokers) == 0 {
		return errors.New("brokers: expected at least one")
	}
	for _, b := range s.Brokers {
		if _, err := broker(b); err != nil {
			return err
		}
	}
	if _, err := topic(s.Topic); err != nil {
		return fmt.Errorf("topic: %w", err)
	}
	if _, err := codec(cmp.Or(s.Compress, "zstd")); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	if s.MaxMessageBytes != 0 && (s.MaxMessageBytes < minMessage || s.MaxMessageBytes > math.MaxInt32/2) {
		return fmt.Errorf("max_message_size: expected 4 KiB to 1 GiB, found %d bytes", s.MaxMessageBytes)
	}
	if _, err := mechanism(cmp.Or(s.Mechanism, mechanismPlain)); err != nil {
		return fmt.Errorf("mechanism: %w", err)
	}
	if (s.Mechanism == "") != (s.Username == "") || s.Username == "" && s.Password != "" {
		return errors.New("mechanism, username and password need each other")
	}
	if (s.Cert == "") != (s.Key == "") {
		return errors.New("cert and key need each other")
	}
	return nil
}

// clientOptions are the client's. Records are tried until the sink is closed: whether they were taken, only the brokers know.
func (s *Sink) clientOptions() ([]kgo.Opt, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(s.Brokers...),
		kgo.ClientID(cmp.Or(s.ClientID, "gatehouse")),
		kgo.DefaultProduceTopic(s.Topic),
		kgo.ProducerBatchMaxBytes(int32(cmp.Or(s.MaxMessageBytes, 1_000_012))), // checked to fit
		kgo.ProducerBatchCompression(s.compression()...),
		kgo.MaxBufferedRecords(maxBuffered),
		kgo.BrokerMaxReadBytes(maxRead),
		kgo.FetchMaxBytes(maxRead), // nothing is fetched, but it must not be above
		kgo.DialTimeout(dialTimeout),
		kgo.RequestTimeoutOverhead(requestTimeout),
		kgo.ProduceRequestTimeout(requestTimeout),
		kgo.RetryBackoffFn(backoff),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.DisableClientMetrics(), // which tell the brokers about the client, unasked
		kgo.WithHooks(s.trouble),
	}
	if s.CreateTopic {
		options = append(options, kgo.AllowAutoTopicCreation())
	}
	if s.TLS || s.CA != "" || s.Cert != "" || s.InsecureSkipVerify {
		secure, err := (&httppost.Config{CA: s.CA, Cert: s.Cert, Key: s.Key, InsecureSkipVerify: s.InsecureSkipVerify}).TLS()
		if err != nil {
			return nil, err
		}
		options = append(options, kgo.DialTLSConfig(secure))
	}
	if auth := s.sasl(); auth != nil {
		options = append(options, kgo.SASL(auth))
	}
	return options, nil
}

// backoff doubles from 50 ms.
func backoff(failures int) time.Duration {
	return min(50*time.Millisecond<<min(failures, 10), maxBackoff)
}

// compression lists codecs in the order of preference: the brokers' version decides.
func (s *Sink) compression() []kgo.CompressionCodec {
	switch s.Compress {
	case "none":
		return []kgo.CompressionCodec{kgo.NoCompression()}
	case "gzip":
		return []kgo.CompressionCodec{kgo.GzipCompression()}
	case "snappy":
		return []kgo.CompressionCodec{kgo.SnappyCompression()}
	case "lz4":
		return []kgo.CompressionCodec{kgo.Lz4Compression()}
	}
	return []kgo.CompressionCodec{kgo.ZstdCompression(), kgo.Lz4Compression(), kgo.GzipCompression()}
}

func (s *Sink) sasl() sasl.Mechanism {
	switch s.Mechanism {
	case mechanismPlain:
		return plain.Auth{User: s.Username, Pass: s.Password}.AsMechanism()
	case mechanismScram256:
		return scram.Auth{User: s.Username, Pass: s.Password}.AsSha256Mechanism()
	case mechanismScram512:
		return scram.Auth{User: s.Username, Pass: s.Password}.AsSha512Mechanism()
	}
	return nil
}

// trouble keeps the reason for which the last connection failed, to say why there is no acknowledgement.
type trouble struct{ last atomic.Pointer[error] }

// OnBrokerConnect implements kgo.HookBrokerConnect. A connection is made when its TLS and SASL are done.
func (t *trouble) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err != nil {
		t.last.Store(&err)
	}
}

// explain adds the reason, if there is one, to the error.
func (t *trouble) explain(err error) error {
	if last := t.last.Load(); last != nil {
		return fmt.Errorf("%w; the last trouble was: %w", err, *last)
	}
	return err
}

// over forgets it.
func (t *trouble) over() { t.last.Store(nil) }
