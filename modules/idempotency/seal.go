// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"sync"
)

// minSecret is the shortest secret that is accepted, in bytes.
const minSecret = 16

// publicSecret stands in where no secret is configured: every proxy has to come to the same names. It hides keys and tokens
// from whoever merely reads the store, not from one who tries guesses against it.
const publicSecret = "gatehouse idempotency, no secret configured"

// envelope marks of an encoded answer, its first byte.
const (
	envelopePlain  = 'p'
	envelopeSealed = 's'
)

var errSealed = errors.New("the answer cannot be decrypted")

// keys makes the names that the store sees, and seals answers. It is safe for concurrent use.
type keys struct {
	macs   sync.Pool   // of hash.Hash, keyed
	sealer cipher.AEAD // nil without encryption
}

// newKeys derives one key for each purpose from the secret.
func newKeys(secret string, encrypt bool) (*keys, error) {
	if secret == "" {
		secret = publicSecret
	}
	macKey, err := hkdf.Key(sha256.New, []byte(secret), nil, "gatehouse idempotency names", 32)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	k := &keys{macs: sync.Pool{New: func() any { return hmac.New(sha256.New, macKey) }}}
	if !encrypt {
		return k, nil
	}
	sealKey, err := hkdf.Key(sha256.New, []byte(secret), nil, "gatehouse idempotency answers", 32)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	block, err := aes.NewCipher(sealKey)
	if err != nil {
		return nil, fmt.Errorf("making the cipher: %w", err)
	}
	k.sealer, err = cipher.NewGCM(block)
	return k, err
}

// mac returns the HMAC of the parts, each with its length, so that no two lists of parts give the same one.
func (k *keys) mac(parts ...[]byte) [sha256.Size]byte {
	h := k.macs.Get().(hash.Hash)
	defer k.macs.Put(h)
	h.Reset()
	var length [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write(part)
	}
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return sum
}

// name is the ID of the record for a key.
func (k *keys) name(realm string, who identity, key string) string {
	sum := k.mac([]byte("record"), []byte(realm), []byte(who.kind), []byte(who.value), []byte(key))
	return hex.EncodeToString(sum[:16])
}

func (k *keys) fingerprint(parts ...[]byte) string {
	sum := k.mac(append([][]byte{[]byte("request")}, parts...)...)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// newOwner names an attempt.
func newOwner() string {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	return hex.EncodeToString(nonce[:])
}

// seal puts an encoded answer into its envelope. The record's ID is bound to it, so that an answer that is moved to
// another record does not open.
func (k *keys) seal(id string, plain []byte) []byte {
	if k.sealer == nil {
		return append([]byte{envelopePlain}, plain...)
	}
	sealed := make([]byte, 1+k.sealer.NonceSize(), 1+k.sealer.NonceSize()+len(plain)+k.sealer.Overhead())
	sealed[0] = envelopeSealed
	_, _ = rand.Read(sealed[1:])
	return k.sealer.Seal(sealed, sealed[1:], plain, []byte(id))
}

// open takes an encoded answer out of its envelope.
func (k *keys) open(id string, envelope []byte) ([]byte, error) {
	switch {
	case len(envelope) == 0:
		return nil, errFormat
	case envelope[0] == envelopePlain:
		return envelope[1:], nil
	case envelope[0] != envelopeSealed:
		return nil, errFormat
	case k.sealer == nil || len(envelope) < 1+k.sealer.NonceSize():
		return nil, errSealed
	}
	nonce, sealed := envelope[1:1+k.sealer.NonceSize()], envelope[1+k.sealer.NonceSize():]
	plain, err := k.sealer.Open(nil, nonce, sealed, []byte(id))
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}
