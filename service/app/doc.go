// Package app keeps the registered applications of a tenant: who they are, where answers may be sent, and the hash of the
// secret with which a confidential one proves itself.
//
// It is strict where a browser is sent with something worth stealing: a redirect address is absolute, without fragment and
// without credentials, over https, or over http to this very computer, or, for public apps alone, to a private-use scheme
// of the reverse domain kind (RFC 8252 §7.1). Addresses are stored as they were typed and are meant to be compared character by
// character (RFC 9700 §2.1); nothing here matches patterns.
//
// It refuses to show a secret twice: Create and RotateSecret return it, the store keeps SHA-256 of it. That is enough for
// 256 random bits, which nobody can guess, unlike a password.
//
// Callers: oidc and signin (which app asks?), admin.
package app
