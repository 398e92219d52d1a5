// Package samba starts a real Active Directory for a test or a demo and throws it away afterwards: a Samba domain controller
// on its own loopback address, in its own directory, with certificates of a CA of its own.
//
// The domain is made once (four seconds) and kept in the user's cache directory; each [Start] copies it (a few hundredths of
// a second), so that every caller has a fresh domain controller in about half a second, several at once in one process.
//
// It refuses to guess: when a program, a package or the right to bind low ports is missing, [Available] says which and the
// command that supplies it. It never touches the system's own Samba, its settings or its directories, and it verifies the
// certificate of the instance it started, so that a neighbour's domain controller cannot answer in its place.
//
// Tests use it through package sambatest, the demo directly. A domain controller's life:
//
//	Start ──▶ running ──Pause──▶ stopped in time ──Resume──▶ running
//	             │
//	             ├──Kill──▶ dead, address and data kept ──Restart──▶ running
//	             │
//	             └──Stop──▶ gone, address given back, directory removed
//
// Several of one domain, and forests that trust each other, live in a [Network], as root:
//
//	NewNetwork ── Start ──▶ dc1 ◀──Join── Start ──▶ dc2       AwaitReplicated; Vanish, Mute, Lose and Reappear
//	           └─ Start ──▶ dc1 of another realm ──Trust──▶   AddNameSuffix
package samba
