// Package link keeps an agent attached to a gateway: it dials out over mutual TLS, through a proxy where there is one, opens one
// stream, hands every check that arrives to a [Handler], and carries the replies back. When the stream ends it comes back by
// itself, sooner or later depending on how it ended.
//
// It refuses to open an envelope, to know a directory, and to decide anything about a password: package agent does that. It
// never lets a handler believe that a fence was granted when it was not: without the Go token in time, or once the check is
// cancelled, the fence fails and nothing may be bound. It never listens on a port.
//
//	     ┌──────────── backoff with jitter ◀──────────────┐
//	     ▼                                                │ failed, lost, replaced
//	connecting ──Welcome──▶ attached ──Drain──▶ draining ─┤
//	     │                     │                   └──come back after──▶ connecting
//	     │ Goodbye, permanent  │ Goodbye, permanent
//	     ▼                     ▼
//	  refused ◀────────────────┘          ctx ends: Leaving, finish the checks in flight, stopped
//
// A renewed certificate is taken up without a gap ([Link.Rejoin]): a second connection is opened beside the first, and when it is
// welcomed the first takes what was offered to it, finishes, and leaves. One goroutine opens all connections, so that an agent never
// has two that do not know of each other: that is what a copied identity looks like, and the gateway asks ([linkpb.Probe]).
//
// Package agent calls [New] and [Link.Run]; its status command shows [Link.Status].
package link
