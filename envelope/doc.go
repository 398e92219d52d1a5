// Package envelope seals one password check to one agent, and the agent's answer back to the service that asked.
//
// The service seals name and password to the public key of the agent that it chose. Everything that says who, what and
// until when (format version, suite, key id, expiry, tenant, directory, agent, request) is bound to the sealing, so that an
// envelope opens only at that agent, for that request, in its time. Four secrets come out of the same HPKE context
// (RFC 9180) and never travel: the go key, by which the service tells the agent "this fence of yours is written down, ask the
// directory now", the hold key, by which it says "do not", the fence key, under which the agent says beforehand whose password it is, and the
// answer key, under which it seals its [wire.Answer]. Whoever carries the bytes can neither read nor make any of them.
//
//	service                                  agent
//	Seal(key, binding, check) ── sealed ──▶  Open(key, binding, sealed, now)
//	Sender.Whose(nonce)       ◀── nonce ───  Receiver.Nonce(account): random for each fence
//	Sender.GoToken, HoldToken ── token ───▶  equal to Receiver.GoToken(nonce)?  only then the directory is asked
//	Sender.OpenAnswer         ◀── sealed ──  Receiver.SealAnswer(answer)
//
// The suite is MLKEM768-X25519 with HKDF-SHA256 and AES-256-GCM: traffic recorded today stays closed to the quantum
// computers of tomorrow. Agents whose keys are in a device, which knows no X25519, have MLKEM768-P256 instead. There is no
// negotiation: the suite is that of the agent's registered key.
//
// The package refuses to decide: it does not remember requests (the agent does), does not judge passwords or names, changes
// none of their bytes, and gives no reason beyond its few errors. It holds no ciphers of its own, only the layout of bytes
// around the standard library, which testdata/README.md describes for other languages beside test vectors.
//
// Callers: service/password seals, agent opens, service/fleet and agent/identity keep keys.
package envelope
