// Package ca is the authority that signs agents' certificates, and the only holder of its key.
//
// It issues one kind of certificate: an agent's TLS client certificate, whose identity is one SPIFFE URI
// (spiffe://<trust domain>/tenant/<id>/agent/<id>). From what an agent sends, the public key is taken and nothing else. It
// verifies such certificates and says in words why one is refused. It refuses to know whether an agent is still wanted:
// revocation is the fleet's business, and takes effect at once because it does not depend on certificates.
//
//	first start ──▶ root: key made, sealed under package atrest, self-signed ──▶ table agent_ca
//	a tenant's first agent ──▶ issuer: signed by the root, for that tenant alone ──▶ table agent_issuer
//	enrolment, renewal ──▶ Issue: 30 days, client authentication only, signed by the tenant's issuer
//	connection  ──▶ Verify: ours? of the issuer's own tenant? in time? ──▶ who it is
//	others      ──▶ Revocations: what an issuer has signed and is not to be believed any more
//
// # Two levels
//
// Each tenant has an issuing key of its own below the installation's root, with path length 0. An issuer names its tenant, and
// Verify refuses an agent of another tenant below it: a mistake with one tenant's issuer cannot make agents of another. An issuer is
// replaced a year before its end. To replace the root, a second row is added: [Authority.Roots] holds all rows, and the newest
// signs issuers from then on.
//
// Roots of before issuers existed may not sign any (path length 0). Where the newest root is one, [Open] makes a root beside it;
// agents' certificates that the old one signed stay valid until they are renewed.
//
// Callers: fleet (Issue, Recognise, Revocations), gateway (Verify, Roots), the wiring (Open).
package ca
