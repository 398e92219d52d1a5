// Package reglog keeps the registration log: for each tenant an append-only record of who was let into the fleet, renewed, shut out and
// released, of tokens that let agents in, and of the policies that decide who checks a password. An entry is written in the
// transaction of the change it records, so that there is neither without the other.
//
//	fleet, tenant ── Record (in their tx) ──▶ entry · chain · hashes of the tree
//	Run ── every few seconds ──▶ checkpoint: size and root, signed (Ed25519)
//	                             │
//	                             └──▶ file, webhook, syslog: each from where it stopped
//	Verify ── offline, no database ──▶ whole, or the first entry that is broken
//
// The tree is that of RFC 6962 §2.1, by golang.org/x/mod/sumdb/tlog; a checkpoint is a C2SP tlog-checkpoint, a signed note of
// golang.org/x/mod/sumdb/note. A chain hash beside each entry lets a copy of the entries alone show where it was broken.
//
// The key of a tenant's checkpoints is sealed at rest together with the size, root and chain that it signed last. Before it signs again
// it holds the rows to them, so whoever can write the database but has not the key at rest cannot have a rewritten past signed. What
// they can do is bring back an older state as a whole; that shows beside any checkpoint that has left the service.
//
// It refuses to change or remove an entry, to sign what does not continue what was signed, and a zero scope. Callers: fleet and
// tenant through tenant.Recorder, the admin API, the command line ([Verify] alone), and the wiring, which runs [Log.Run].
package reglog
