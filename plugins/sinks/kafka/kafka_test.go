// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package kafka_test

import (
	"context"
	"crypto/rand"
	"crypto/sha512"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gatehouse-proxy/gatehouse/modules/gatehousetest"
	"github.com/gatehouse-proxy/gatehouse/modules/logship"
	"github.com/gatehouse-proxy/gatehouse/modules/logship/logshiptest"
	"github.com/gatehouse-proxy/gatehouse/plugins/sinks/kafka"
	"github.com/gatehouse-proxy/gatehouse/plugins/sinks/sinkstest"
)

// patience bounds every wait for what must come.
const patience = 30 * time.Second

// behind is a broker's listener that tells clients to come to the relay.
type behind struct {
	net.Listener
	relay net.Addr
}

// Addr is what the broker advertises.
func (b behind) Addr() net.Addr { return b.relay }

// brokers is a cluster of one behind a relay.
type brokers struct {
	*kfake.Cluster
	relay *logshiptest.Relay
	local string // its address without the relay
}

func start(t testing.TB, options ...kfake.Opt) *brokers {
	t.Helper()
	b := new(brokers)
	listen := func(network, _ string) (net.Listener, error) {
		l, err := net.Listen(network, "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		b.local = l.Addr().String()
		b.relay = logshiptest.NewRelay(t, b.local)
		addr, err := net.ResolveTCPAddr("tcp", b.relay.Address)
		return behind{l, addr}, err
	}
	options = append([]kfake.Opt{kfake.NumBrokers(1), kfake.ListenFn(listen), kfake.SeedTopics(4, "access")}, options...)
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b.Cluster = cluster
	return b
}

// read fetches every record of the topic.
func (b *brokers) read(ctx context.Context, options ...kgo.Opt) ([]*kgo.Record, error) {
	toLocal := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, b.local)
	}
	options = append([]kgo.Opt{kgo.SeedBrokers(b.local), kgo.Dialer(toLocal), kgo.ConsumeTopics("access")}, options...)
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	end := int64(0)
	for partition := range int32(4) {
		if info := b.PartitionInfo("access", partition); info != nil {
			end += info.HighWatermark
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var records []*kgo.Record
	for int64(len(records)) < end {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		records = append(records, fetches.Records()...)
	}
	return records, nil
}

func (b *brokers) sink(t testing.TB) *kafka.Sink {
	return gatehousetest.Provision(t, &kafka.Sink{Brokers: []string{b.relay.Address}, Topic: "access"})
}

func (b *brokers) subject(t *testing.T) *logshiptest.Subject {
	return &logshiptest.Subject{
		Sink: b.sink(t), Break: b.relay.Break, Stall: b.relay.Stall, Mend: b.relay.Mend,
		Poison: []byte(`{"long":"` + strings.Repeat("x", 2_000_000) + `"}`),
		Received: func() ([]string, error) {
			records, err := b.read(t.Context())
			lines := make([]string, len(records))
			for i, r := range records {
				lines[i] = string(r.Value)
			}
			return lines, err
		},
	}
}

func TestConformance(t *testing.T) {
	logshiptest.Run(t, func(t *testing.T) *logshiptest.Subject { return start(t).subject(t) })
}

func TestRecords(t *testing.T) {
	b := start(t)
	batch := logshiptest.Batch(7, logshiptest.Access(3)...)
	if err := b.sink(t).Send(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	records, err := b.read(t.Context())
	if err != nil || len(records) != 3 {
		t.Fatalf("the topic has %d records, %v", len(records), err)
	}
	for i, r := range records {
		if string(r.Key) != "test-node.1" || r.Partition != records[0].Partition || !r.Timestamp.Equal(batch.Lines[i].Time) {
			t.Errorf("record %d has the key %q, partition %d, time %s", i, r.Key, r.Partition, r.Timestamp)
		}
		if len(r.Headers) != 1 || r.Headers[0].Key != "ship_id" || string(r.Headers[0].Value) != batch.LineID(i) {
			t.Errorf("record %d has the headers %v", i, r.Headers)
		}
	}
}

// An acknowledgement that is late: the same batch, sent again meanwhile, is there once, and so are the lines after it.
func TestLateAcknowledgementIsNoDuplicate(t *testing.T) {
	b := start(t)
	s := b.sink(t)
	send := func(within time.Duration, first uint64) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		return s.Send(ctx, logshiptest.Batch(first, logshiptest.Access(50)...))
	}
	if err := send(patience, 1); err != nil {
		t.Fatal(err)
	}
	b.relay.Stall()
	for range 3 {
		if err := send(100*time.Millisecond, 51); sinkstest.Meaning(err) != sinkstest.Again {
			t.Fatalf("nothing comes through, and Send gave %v", err)
		}
	}
	b.relay.Mend()
	for _, first := range []uint64{51, 101} {
		if err := send(patience, first); err != nil {
			t.Fatal(err)
		}
	}
	records, err := b.read(t.Context())
	if err != nil || len(records) != 150 {
		t.Fatalf("the topic has %d records, want 150 (%v)", len(records), err)
	}
	for i, r := range records {
		if want := fmt.Sprintf("test-node.1-1700000000000-%d", i+1); string(r.Headers[0].Value) != want {
			t.Fatalf("record %d is %s, want %s", i, r.Headers[0].Value, want)
		}
	}
}

// answerWith has the brokers answer every produce request with an error code.
func (b *brokers) answerWith(failure *kerr.Error) {
	b.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		return refusal(request, failure), nil, true
	})
}

// refusal answers a produce request with an error code.
func refusal(request kmsg.Request, failure *kerr.Error) kmsg.Response {
	response := request.ResponseKind().(*kmsg.ProduceResponse)
	for _, topic := range request.(*kmsg.ProduceRequest).Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
		for _, partition := range topic.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = partition.Partition, failure.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		response.Topics = append(response.Topics, rt)
	}
	return response
}

func TestAnswers(t *testing.T) {
	for failure, want := range map[*kerr.Error]string{
		kerr.MessageTooLarge:                sinkstest.Rejected,
		kerr.RecordListTooLarge:             sinkstest.Rejected,
		kerr.InvalidRecord:                  sinkstest.Rejected,
		kerr.InvalidTimestamp:               sinkstest.Rejected,
		kerr.TopicAuthorizationFailed:       sinkstest.Again,
		kerr.NotLeaderForPartition:          sinkstest.Again,
		kerr.NotEnoughReplicas:              sinkstest.Again,
		kerr.KafkaStorageError:              sinkstest.Again,
		{Message: "NONSENSE", Code: 31_000}: sinkstest.Again,
	} {
		t.Run(failure.Message, func(t *testing.T) {
			b := start(t)
			b.answerWith(failure)
			within := time.Second // the client itself tries again until then
			if want == sinkstest.Rejected {
				within = patience
			}
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			if err := b.sink(t).Send(ctx, logshiptest.Batch(1, "{}")); sinkstest.Meaning(err) != want {
				t.Errorf("%v means %s, want %s", err, sinkstest.Meaning(err), want)
			}
		})
	}
}

// The topic takes less than the client sends at once: the brokers refuse all of a batch for its length, and its lines are well.
func TestTopicTakesLess(t *testing.T) {
	b := start(t)
	s := b.sink(t)
	b.refuseLonger(20 << 10)
	lines := logshiptest.Access(200)
	for i := range lines { // compressed, they are as long
		lines[i] = fmt.Sprintf(`{"n":%d,"x":"%x"}`, i, sha512.Sum512([]byte(lines[i])))
	}
	long := make([]byte, 30_000)
	_, _ = rand.Read(long) // never fails
	lines[77] = fmt.Sprintf(`{"n":77,"x":"%x"}`, long)
	var dead []uint64
	var send func(batch logship.Batch)
	send = func(batch logship.Batch) {
		err := s.Send(t.Context(), &batch)
		if sinkstest.Meaning(err) == sinkstest.Taken {
			return
		}
		if sinkstest.Meaning(err) != sinkstest.Rejected {
			t.Fatal(err)
		}
		if len(batch.Lines) == 1 {
			dead = append(dead, batch.Lines[0].Seq)
			return
		}
		head, tail := batch, batch
		head.Lines, tail.Lines = batch.Lines[:len(batch.Lines)/2], batch.Lines[len(batch.Lines)/2:]
		send(head)
		send(tail)
	}
	send(*logshiptest.Batch(1, lines...))
	if !slices.Equal(dead, []uint64{78}) {
		t.Errorf("the lines %v were given up, want 78", dead)
	}
	records, err := b.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range records {
		seen[string(r.Headers[0].Value)] = true
	}
	if len(records) != 199 || len(seen) != 199 {
		t.Errorf("the topic has %d records of %d lines, want 199", len(records), len(seen))
	}
}

// refuseLonger has the brokers refuse longer batches of records, as they do by max.message.bytes. Others are taken.
func (b *brokers) refuseLonger(limit int) {
	b.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		long := false
		for _, topic := range request.(*kmsg.ProduceRequest).Topics {
			for _, partition := range topic.Partitions {
				long = long || len(partition.Records) > limit
			}
		}
		if !long {
			return nil, nil, false
		}
		return refusal(request, kerr.MessageTooLarge), nil, true
	})
}

// A server that speaks another protocol.
func TestNoBroker(t *testing.T) {
	for name, answer := range sinkstest.Nonsense() {
		url := sinkstest.Serve(t, answer)
		s := gatehousetest.Provision(t, &kafka.Sink{Brokers: []string{strings.TrimPrefix(url, "http://")}, Topic: "access"})
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		err := s.Send(ctx, logshiptest.Batch(1, "{}"))
		cancel()
		if sinkstest.Meaning(err) != sinkstest.Again || len(err.Error()) > 1000 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMissingTopic(t *testing.T) {
	b := start(t, kfake.AllowAutoTopicCreation())
	batch := logshiptest.Batch(1, "{}")
	s := gatehousetest.Provision(t, &kafka.Sink{Brokers: []string{b.relay.Address}, Topic: "another"})
	if err := s.Send(t.Context(), batch); sinkstest.Meaning(err) != sinkstest.Again || !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("there is no such topic, and Send gave %v", err)
	}
	s = gatehousetest.Provision(t, &kafka.Sink{Brokers: []string{b.relay.Address}, Topic: "another", CreateTopic: true})
	if err := s.Send(t.Context(), batch); err != nil {
		t.Errorf("the topic was to be made: %v", err)
	}
}

func TestSASLAndTLS(t *testing.T) {
	server := httptest.NewTLSServer(nil) // for its certificate
	certificate := server.TLS.Certificates[0]
	server.Close()
	for mechanism, name := range map[string]string{"plain": "PLAIN", "scram-sha-256": "SCRAM-SHA-256", "scram-sha-512": "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			b := start(t, kfake.EnableSASL(), kfake.Superuser(name, "gatehouse", "s3cret"),
				kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}}))
			t.Setenv("KAFKA_PASSWORD", "s3cret")
			s := &kafka.Sink{
				Brokers: []string{b.relay.Address}, Topic: "access", Mechanism: mechanism, Username: "gatehouse",
				Password: "{env.KAFKA_PASSWORD}", InsecureSkipVerify: true,
			}
			if err := gatehousetest.Provision(t, s).Send(t.Context(), logshiptest.Batch(1, "{}")); err != nil {
				t.Fatal(err)
			}
			wrong := &kafka.Sink{
				Brokers: []string{b.relay.Address}, Topic: "access", Mechanism: mechanism, Username: "gatehouse",
				Password: "wr0ng", InsecureSkipVerify: true,
			}
			refused(t, gatehousetest.Provision(t, wrong), "the last trouble was", "wr0ng") // kfake hangs up without a word
			untrusting := &kafka.Sink{Brokers: []string{b.relay.Address}, Topic: "access", TLS: true}
			refused(t, gatehousetest.Provision(t, untrusting), "certificate", "s3cret")
		})
	}
}

// refused wants an error that says why, and not the secret. A busy machine may need longer to come to it.
func refused(t *testing.T, s *kafka.Sink, why, secret string) {
	t.Helper()
	for within := time.Second; ; within *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		err := s.Send(ctx, logshiptest.Batch(1, "{}"))
		cancel()
		if sinkstest.Meaning(err) != sinkstest.Again || strings.Contains(err.Error(), secret) {
			t.Fatalf("the error is %v", err)
		}
		if strings.Contains(err.Error(), why) {
			return
		}
		if within > patience {
			t.Fatalf("the error is %v, want one that says %q", err, why)
		}
	}
}

func TestCleanupEndsWhatIsOnItsWay(t *testing.T) {
	gatehousetest.NoLeaks(t)
	b := start(t)
	s := &kafka.Sink{Brokers: []string{b.relay.Address}, Topic: "access"}
	if err := s.Provision(gatehousetest.Context(t)); err != nil {
		t.Fatal(err)
	}
	b.relay.Break()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Send(ctx, logshiptest.Batch(1, "{}")); err == nil {
		t.Fatal("there is no broker")
	}
	begun := time.Now()
	if err := s.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > patience {
		t.Errorf("Cleanup took %s", took)
	}
	if err := s.Send(t.Context(), logshiptest.Batch(1, "{}")); sinkstest.Meaning(err) != sinkstest.Again {
		t.Errorf("after Cleanup, Send gave %v", err)
	}
}

func TestConfig(t *testing.T) {
	ok := []string{"kafka:9092"}
	for name, s := range map[string]*kafka.Sink{
		"no brokers":       {Topic: "t"},
		"no topic":         {Brokers: ok},
		"bad topic":        {Brokers: ok, Topic: "a b"},
		"bad port":         {Brokers: []string{"kafka:x"}, Topic: "t"},
		"URL":              {Brokers: []string{"http://kafka:9092"}, Topic: "t"},
		"codec":            {Brokers: ok, Topic: "t", Compress: "lzma"},
		"small messages":   {Brokers: ok, Topic: "t", MaxMessageBytes: 1},
		"large messages":   {Brokers: ok, Topic: "t", MaxMessageBytes: 1 << 40},
		"mechanism":        {Brokers: ok, Topic: "t", Mechanism: "gssapi", Username: "u"},
		"user alone":       {Brokers: ok, Topic: "t", Username: "u"},
		"mechanism alone":  {Brokers: ok, Topic: "t", Mechanism: "plain"},
		"certificate":      {Brokers: ok, Topic: "t", Cert: "x.pem"},
		"no such CA":       {Brokers: ok, Topic: "t", CA: "/nonexistent.pem"},
		"no such variable": {Brokers: ok, Topic: "{env.NO_SUCH_VARIABLE}"},
	} {
		if err := s.Provision(gatehousetest.Context(t)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	t.Setenv("FIXTURE_SPOOL", t.TempDir())
	t.Setenv("KAFKA_PASSWORD", "s3cret")
	gatehousetest.Fixtures(t, "testdata/*.caddyfiletest")
}

func FuzzCaddyfile(f *testing.F) {
	sinkstest.Fuzz(f, func() caddyfile.Unmarshaler { return new(kafka.Sink) },
		"kafka a:9092 b {\n topic access\n}", "kafka [::1]:9092 {\n topic t\n sasl plain u p\n tls\n compress lz4\n}",
		"kafka {env.BROKER} {\n topic t\n max_message_size 1MiB\n create_topic\n}", "kafka", "kafka a", "kafka a:b {\n topic x\n}")
}

func BenchmarkSend(b *testing.B) {
	cluster := start(b, kfake.BlackholeProduce())
	s := cluster.sink(b)
	batch := logshiptest.Batch(1, logshiptest.Access(5000)...)
	for b.Loop() {
		if err := s.Send(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*5000/b.Elapsed().Seconds(), "lines/s")
}
