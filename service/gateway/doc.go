// Package gateway is the agents' front door: mutual TLS in, one stream an agent, checks out, answers back. Beside it stands the
// small HTTP door through which a new agent registers.
//
// It refuses to open an envelope (it could not), to judge a password, to try a check a second time, to believe an agent
// about who it is (the certificate says that, and the fleet whether it is still wanted), and to serve anything but that one
// stream. TLS asks for any client certificate; chain, time and identity are verified before the first message is read, so that a
// foreign, expired or revoked agent is told in words what is wrong.
//
//	TLS ──▶ verified ──▶ Hello ──Welcome──▶ attached ──▶ gone
//	           │           │                   │  Goodbye: revoked, removed, expired, replaced, silent
//	           └─Goodbye───┘                   │  Leaving: no new checks, those in flight are answered
//	                                           ├─ Drain: the gateway goes; in flight is finished, then gone
//	                                           └─ the agent comes anew: renewed, lost, or a copy (holders.go)
//
// For each directory there is a room: its agents here, their slots, and a bounded line of asks that wait for one. The asks of a
// directory are answered for exactly as long as an agent stands in its room.
//
//	ask ──▶ slot free? ──yes──▶ reserved (2 s) ──delivery──▶ Check ──▶ Fence? ──▶ service ──▶ Go ──▶ Answer ──▶ slot free
//	          │ no                  └─released, lease over──▶ slot free      └──Refusal──────────────────▶
//	          ▼
//	        hopeless? ──yes──▶ overloaded, at once
//	          │ no
//	          ▼
//	        line, first come first served ──▶ out of time: agents busy
//
// Which agent is offered is a matter of what its answers cost in time (score.go).
//
// A stream that ends takes its checks with it: the service hears "lost" and knows from the fence whether the attempt may have
// counted. Within a second of a revocation the fleet has been asked again and the stream ended, on every node, even if no
// announcement arrived.
//
// The wiring calls [New], [Gateway.Serve] and mounts [Gateway.Register] and [Gateway.Revocations].
package gateway
