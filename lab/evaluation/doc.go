// Package evaluation is a small directory that answers as Active Directory does, for trying Sallyport out and for tests. It is
// no directory to keep: its people live in memory with readable passwords, nothing can be written over LDAP, and everything
// it says of itself (the root DSE's vendorName, the log line at its start) calls it an evaluation directory.
//
// What it does: LDAP over TLS and StartTLS; simple binds by UPN, DOMAIN\name, DN and the rarer forms, with the result codes and
// diagnostic texts of a real domain controller for every state an account can be in; counting and locking; searches with
// the filters that programs send to Active Directory; and, for tests, misbehaviour on demand (slow, hung, dropping).
// testdata holds a transcript of what a Samba 4.17 domain controller said to several hundred requests; the tests replay it here
// and, where Samba is installed, check that it is still the truth.
//
// What it refuses: writes, SASL, passwords over an unencrypted connection, messages above a size, more connections than a limit.
// Where it differs from Samba on purpose, it follows the standard, and the test names the difference:
//
//   - a critical control it does not know is refused in the response that belongs to the request (Samba sends an extended one);
//   - typesOnly and sizeLimit of a search are honoured (Samba ignores both, Windows does not).
//
// Package demo starts it; tests of the agent's LDAP use it where Samba would be too slow. One life of a connection:
//
//	accepted ──▶ TLS ──▶ anonymous ──bind──▶ bound ──bind──▶ bound as somebody else
//	   │                     ▲                  │
//	   └─plain──StartTLS─────┘                  └─ a refused bind leaves it as it was, as with Samba
package evaluation
