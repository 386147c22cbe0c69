// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
)

// nature is what the guard must know of the policy that it wraps, to leave upstreams out without breaking what that
// policy promises. It is read from the policy's config, as its type keeps the fallback to itself.
type nature struct {
	policy string
	// keys are what the policy binds requests to upstreams by, the first one that a request has. A request without any is
	// free to go anywhere.
	keys []keyFunc
	// sticky means that a cookie remembers the choice: the guard must not alter it afterwards.
	sticky bool
	// turns are the weights of weighted_round_robin, which go by the positions in the pool, so those must not change; nil
	// for any other policy.
	turns []float64
	// weighs is how upstreams' weights come in.
	weighs weighing
	// foreign means that nothing is known of the policy.
	foreign bool
}

// weighing is how weights that a policy does not know of come into its choices.
type weighing uint8

const (
	byShare    weighing = iota // some of its choices are moved, from upstreams that get more than their share to others
	byLoad                     // it compares requests in flight, so the guard does by weight
	unweighted                 // not at all
)

// link is what matters of a policy's config. Policies with a fallback form a chain.
type link struct {
	// Policy is the policy's name.
	Policy string `json:"policy"`
	// Field is the header field of the policy header.
	Field string `json:"field"`
	// Key is the parameter of the policy query.
	Key string `json:"key"`
	// Name is the cookie of the policy cookie; empty means lb.
	Name string `json:"name"`
	// Weights are those of weighted_round_robin by position, or something else's.
	Weights json.RawMessage `json:"weights"`
	// Fallback is the policy for requests that have no key.
	Fallback json.RawMessage `json:"fallback"`
}

// natureOf reads the config of a policy and of its fallbacks.
func natureOf(config json.RawMessage) (nature, error) {
	var n nature
	for len(config) > 0 {
		var l link
		if err := json.Unmarshal(config, &l); err != nil {
			return n, fmt.Errorf("reading the guarded policy: %w", err)
		}
		if n.policy == "" {
			n.policy = l.Policy
		}
		if err := n.add(&l); err != nil {
			return n, fmt.Errorf("guarded policy %s: %w", l.Policy, err)
		}
		config = l.Fallback
	}
	if len(n.keys) > 0 && !n.ownWeights() {
		n.weighs = byShare // whatever the fallback does with the requests that have no key
	}
	return n, nil
}

func (n *nature) ownWeights() bool { return n.policy == consistentHash }

// add takes in one policy of the chain.
func (n *nature) add(l *link) error {
	switch l.Policy {
	case "header":
		return n.bind(keyHeader, l.Field)
	case "query":
		return n.bind(keyQuery, l.Key)
	case "cookie":
		n.sticky = true
		name := l.Name
		if name == "" {
			name = "lb"
		}
		n.keys = append(n.keys, func(r *http.Request) (uint64, bool) {
			if cookieValue(r.Header["Cookie"], name) == "" {
				return 0, false
			}
			return hashString(clientIP(r)) // the cookie names the upstream, so it is the same for many clients
		})
	case "uri_hash":
		return n.bind(keyURI, "")
	case "ip_hash":
		n.keys = append(n.keys, remoteAddress)
	case "client_ip_hash":
		return n.bind(keyClientIP, "")
	case "random", "round_robin":
	case "least_conn", "random_choose":
		n.weighs = byLoad
	case "first":
		n.weighs = unweighted
	case "weighted_round_robin":
		if len(l.Weights) > 0 {
			return json.Unmarshal(l.Weights, &n.turns)
		}
	case consistentHash: // heeds weights, and binds by a key of its own, for which see Provision
		n.weighs, l.Fallback = unweighted, nil
		return n.bind(keyClientIP, "")
	default:
		n.foreign, l.Fallback = true, nil
		return n.bind(keyClientIP, "")
	}
	return nil
}

func (n *nature) bind(source, name string) error {
	key, err := newKeyFunc(source, name, nil)
	n.keys = append(n.keys, key)
	return err
}

// key returns what the policy binds the request by, 0 if it does not.
func (n *nature) key(r *http.Request) uint64 {
	for _, key := range n.keys {
		if hash, ok := key(r); ok {
			return hash | 1
		}
	}
	return 0
}

// turnsFor returns the weights that go by positions, nil if they have no part in the choice for a key.
func (n *nature) turnsFor(key uint64) []float64 {
	if key != 0 && !n.sticky {
		return nil
	}
	return n.turns
}

// remoteAddress is the address of the connection, which is the client's only without proxies in front.
func remoteAddress(r *http.Request) (uint64, bool) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return hashString(host)
}
