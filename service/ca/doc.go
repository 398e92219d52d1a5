// Package ca is the authority that signs agents' certificates, and the only holder of its key.
//
// It issues one kind of certificate: an agent's TLS client certificate, whose identity is one SPIFFE URI
// (spiffe://<trust domain>/tenant/<id>/agent/<id>). From what an agent sends, the public key is taken and nothing else. It
// verifies such certificates and says in words why one is refused. It refuses to know whether an agent is still wanted:
// revocation is the fleet's business, and takes effect at once because it does not depend on certificates.
//
//	first start ──▶ key made, sealed under package atrest, certificate self-signed ──▶ table agent_ca
//	enrolment   ──▶ Issue: 30 days, client authentication only
//	connection  ──▶ Verify: ours? in time? ──▶ who it is
//
// # One level
//
// The root signs agents directly; there is no intermediate. An intermediate earns its keep when the root's key can be
// locked away, and here both would lie in the same table, sealed under the same key. To replace the authority, a second
// row is added: [Authority.Roots] holds all rows, and the newest signs; certificates last 30 days, so the old row can go
// after that.
//
// Callers: fleet (Issue), gateway (Verify, Roots), the wiring (Open).
package ca
