// Package canary looks for a password where none may be. A test signs in with a password that occurs nowhere else, and then
// searches whatever the system has written, sent or left behind for it: in every encoding that logs, databases, brokers and web
// pages put text into, and also for its parts, since what was cut or partly overwritten is a leak too.
//
//	secret ─▶ pieces of 12 characters or more ─▶ UTF-8, UTF-16 LE and BE ─▶ as they are, Base64 at all three alignments in both
//	alphabets, hexadecimal and decimal byte lists; and with any character escaped as in addresses, JSON, Go, LDAP or HTML
//
// It refuses to repeat what it finds: a [Finding] has a place and an encoding, so that a test's own log does not become the leak.
// It does not know ciphers, hashes or compression other than gzip.
//
// Tests of the lab call it.
package canary
