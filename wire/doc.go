// Package wire holds the words that the service and its agents both speak: what is asked about a password, what a
// directory can answer, the numbers of everything that can go wrong, who an agent is, and the version of the protocol.
//
// It holds words and no behaviour beyond parsing and printing them, and imports only the standard library, so that
// anybody can write another agent. The messages of the agent's stream are generated into package linkpb below it.
//
//	service  ── envelope(Check) ──▶  agent  ── bind ──▶  directory
//	service  ◀── sealed Answer ───   agent  ◀── result ──
//
// An [Answer] holds either a [Verdict] (the directory judged the password) or a [Trouble] (nobody did). Only a verdict may
// count towards lockout; a trouble never does.
package wire
