// Package kerberos asks a KDC about a password: one AS exchange with an encrypted timestamp (RFC 4120 §3.1, §5.2.7.2), AES only, over TCP
// and, where [Config.UDP] allows it, the first question by UDP.
//
//	agent                                   KDC
//	  │ AS-REQ, no proof ──────────────────▶ │  counts nothing; TCP, or UDP
//	  │ ◀──────── 25: salt, rounds, AES      │
//	  │ (new connection) Fence               │
//	  │ AS-REQ, timestamp under the key ───▶ │  counts, once
//	  │ ◀──────── AS-REP, or KRB-ERROR       │
//	  ▼
//	 verdict
//
// The ticket that is asked for is not a ticket-granting one but one for the agent's own service, whose key lies in a keytab. So a yes
// brings its own proof: only a real KDC can seal a ticket under that key. Without it somebody between agent and KDC could answer in the KDC's
// place and accept a password of his own making for anybody (Zanarotti's attack); [New] therefore refuses to work without a keytab unless
// [Config.Unproven] says so. The ticket also says whose it is, which is held against the name that was typed: a
// request can be changed on its way to ask about somebody else.
//
// With [Config.Armor] both messages travel in armour (FAST, RFC 6113), made with a ticket of the agent's own account: then nobody between learns more than who signs in, or changes anything, and a no is
// the KDC's own, too.
//
// The agent never holds a ticket with which it could act as the person.
//
// Without armour a no proves nothing about who said it: whoever can change the messages can refuse everybody, and can learn from the proof as much as whoever
// guesses passwords against it offline. Where the network is not trusted, LDAPS is the better validator.
//
// The package refuses to send a proof twice, weak kinds of encryption, rounds outside fixed limits, referrals to other realms, and to
// read attributes: those come from whoever [Config.Attributes] names. It uses the messages and the cryptography of gokrb5 but not its client, which would send a wrong password twice.
//
// Package agent calls it.
package kerberos
