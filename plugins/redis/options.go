// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"net"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// probeDeadline bounds each read of a probe. It is longer than any sensible probe timeout: a probe that is late, but is answered,
// saves dialing anew.
const probeDeadline = 500 * time.Millisecond

// options are the driver's for commands. Timeouts of reading and writing equal that of a request, so that a connection
// on which nothing moves holds the others up no longer than that.
func (s *settings) options() *goredis.UniversalOptions {
	o := s.common("gatehouse", s.Timeout)
	o.PoolSize, o.MaxActiveConns = s.PoolSize, s.PoolSize
	o.MinIdleConns = s.MinIdle
	o.ContextTimeoutEnabled = true // RunAlone relies on it
	o.ConnMaxIdleTime = s.IdleTimeout
	o.ConnMaxLifetime, o.ConnMaxLifetimeJitter = s.Lifetime, s.Lifetime/10
	return o
}

// probeOptions are the driver's for the prober's own connection.
func (s *settings) probeOptions() *goredis.UniversalOptions {
	o := s.common("gatehouse-probe", max(probeDeadline, 2*s.ProbeTimeout))
	o.PoolSize = 2 // one, and one while a dead one is replaced
	o.PipelinePoolSize = -1
	return o
}

func (s *settings) common(clientName string, timeout time.Duration) *goredis.UniversalOptions {
	dial := goredis.NewDialer(&goredis.Options{DialTimeout: s.DialTimeout, TLSConfig: s.tls})
	return &goredis.UniversalOptions{
		Addrs:         s.Addresses,
		IsClusterMode: s.Mode == modeCluster,
		MasterName:    s.Master,
		ClientName:    clientName,
		DB:            s.DB,
		Username:      s.Username, Password: s.Password,
		SentinelUsername: s.SentinelUsername, SentinelPassword: s.SentinelPassword,
		Dialer:        dialer(dial),
		TLSConfig:     s.tls,
		DialTimeout:   s.DialTimeout,
		DialerRetries: 1,
		ReadTimeout:   timeout, WriteTimeout: timeout, PoolTimeout: timeout,
		MaxRetries: -1, // the caller's request may be over, and a count must not count twice
		// RESP2 answers alike on all servers and versions, and costs the reader no look-out for pushed messages.
		Protocol:                 2,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// pipeline configures the batching. One batch is on its way at a time: what arrives meanwhile is the next one, so batches
// grow with the load. Order between requests means nothing.
func (s *settings) pipeline() *goredis.AutoPipelineOptions {
	return &goredis.AutoPipelineOptions{
		MaxBatchSize:         300,
		MaxConcurrentBatches: 1,
		Unordered:            true,
		MaxQueuedCommands:    s.Queue,
	}
}

// dialer turns a failure to dial into a connection that fails at its first use. The driver's pool counts failed dials and,
// after as many as its size, answers with the last failure for up to a second after the server is back; knowing when
// to try is the prober's business here.
func dialer(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return undialed{&dialError{err}}, nil
		}
		return conn, nil
	}
}

// dialError is a failure to reach a server: nothing was sent.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// undialed is a connection that could not be dialed. Its SyscallConn fails, by which the pool tells dead connections.
type undialed struct{ err error }

func (u undialed) Read([]byte) (int, error)              { return 0, u.err }
func (u undialed) Write([]byte) (int, error)             { return 0, u.err }
func (u undialed) SyscallConn() (syscall.RawConn, error) { return nil, u.err }
func (undialed) Close() error                            { return nil }
func (undialed) LocalAddr() net.Addr                     { return &net.TCPAddr{} }
func (undialed) RemoteAddr() net.Addr                    { return &net.TCPAddr{} }
func (undialed) SetDeadline(time.Time) error             { return nil }
func (undialed) SetReadDeadline(time.Time) error         { return nil }
func (undialed) SetWriteDeadline(time.Time) error        { return nil }
