// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package front

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// socket is an address that front will listen on, with what to do if it cannot.
type socket struct{ option, address, advice string }

func (o options) sockets() []socket {
	s := []socket{{
		"--from " + o.from.address(), o.from.address(),
		"stop what listens there or choose another port, as in --from :8081",
	}}
	if o.from.scheme == "https" && !o.disableRedirects {
		s = append(s, socket{
			"port 80, for redirects to HTTPS", net.JoinHostPort(o.from.bind, "80"),
			"stop what listens there or add --disable-redirects",
		})
	}
	if o.admin != "off" && !strings.HasPrefix(o.admin, "unix/") {
		s = append(s, socket{
			"--admin " + o.admin, o.admin,
			"another Caddy or Gatehouse may run there; choose another port, as in --admin localhost:2020, or --admin off",
		})
	}
	return s
}

// checkPorts tries every address before Caddy does. Caddy would share a port with another Caddy of the same user
// (SO_REUSEPORT), and half of the requests would go to the other one; and its errors name no option.
func (o options) checkPorts(listen func(network, address string) error) error {
	for _, s := range o.sockets() {
		err := listen("tcp", s.address)
		switch {
		case err == nil:
		case errors.Is(err, syscall.EADDRINUSE):
			return fmt.Errorf("%s: the port is taken; %s", s.option, s.advice)
		case errors.Is(err, syscall.EACCES):
			return fmt.Errorf("%s: no permission to listen; ports below 1024 need root or CAP_NET_BIND_SERVICE", s.option)
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			return fmt.Errorf("%s: this machine does not have the address", s.option)
		default:
			return fmt.Errorf("%s: cannot listen: %w", s.option, err)
		}
	}
	return nil
}
