// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// Deadlines of a server's connections.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 5 * time.Minute // longer than proxies keep theirs, so that the proxy is the one who closes
	totalTimeout  = time.Hour       // of reading a request and of answering it; 4 GiB at 1.2 MB/s
)

// Server serves one Listener on one address.
type Server struct {
	listener *Listener
	address  net.Addr
	http     *http.Server
	done     chan error // one value, when serving has ended
}

// Start listens on address, such as 127.0.0.1:0, and serves until Stop.
func Start(ctx context.Context, l *Listener, address string) (*Server, error) {
	var config net.ListenConfig
	socket, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for %s: %w", l.Name(), err)
	}
	s := &Server{
		listener: l,
		address:  socket.Addr(),
		http: &http.Server{
			Handler:           l,
			ReadHeaderTimeout: headerTimeout,
			IdleTimeout:       idleTimeout,
			ReadTimeout:       totalTimeout,
			WriteTimeout:      totalTimeout,
			ErrorLog:          log.New(io.Discard, "", 0), // faults made on purpose would fill it
		},
		done: make(chan error, 1),
	}
	go func() { s.done <- s.http.Serve(socket) }()
	return s, nil
}

// URL is where the server is reached, with the real port.
func (s *Server) URL() string { return "http://" + s.address.String() }

// Done delivers one error if serving ends by itself.
func (s *Server) Done() <-chan error { return s.done }

// Stop ends the streams, lets running requests finish until ctx ends, and then cuts what is left.
func (s *Server) Stop(ctx context.Context) error {
	s.listener.Close()
	err := s.http.Shutdown(ctx)
	if err == nil {
		select {
		case <-s.listener.streams.idle: // hijacked connections are not http.Server's any more
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("stopping %s: %w", s.listener.Name(), err), s.http.Close())
	}
	return err
}
