// Package queue carries asks, envelopes and answers between the service's processes and the gateways that hold agents. It is
// NATS core request and reply and nothing else: by default a server embedded in this process, which listens on no socket; with a
// URL, a NATS cluster that many processes share. Code and subjects are the same.
//
// It refuses to store anything (no JetStream: a message that nobody takes is gone, and publishing fails at once while the broker
// is away, so that not even a sealed password waits in a buffer), to look into an envelope, and to try a second time: who may
// be asked again is for package password to say. Package password calls [Queue.Ask] and [Queue.Deliver]; package gateway
// answers them; whoever changes the fleet calls [Queue.Announce].
//
//	password                         broker                              gateway
//	  Ask ─────────▶ sallyport.ask.<tenant>.<directory> ─────────▶ one of the queue group
//	      ◀────────── offer (agent, slot), or a refusal ──────────
//	  Deliver ─────▶ sallyport.gateway.<gateway>.check ──────────▶ acknowledges at once
//	      ◀────────── fence ─────────────────────────────────────  from here on the attempt may count
//	      ─────────── Go token, or empty: no ────────────────────▶
//	      ◀────────── answer, refusal or loss; a beat each second while it lasts
//
// Where several gateways hold agents of a directory, most asks go straight to one of them (sallyport.askat…), each as often as its last
// offer weighed, so that equal agents get equal shares wherever they are attached.
//
// An ask that the chosen gateway cannot serve soon goes to every gateway of the directory (sallyport.askall…): the first offer
// wins, the others are released.
//
// A check moves through these states; [Next] is the whole rule, and a fence is granted only on the edge so named:
//
//	asked ─offer▶ offered ─seal▶ sealed ─deliver▶ delivered ─fence▶ fenced ─answer▶ answered
//	                               │                 ├─answer─────────────────────▶ answered
//	                               ├─refuse──────────┴─▶ refused        └─refuse or lose▶ lost (fenced)
//	asked, offered, sealed, delivered ─lose▶ lost (not fenced)
//
// Lost before the fence is certain knowledge that nothing was bound: after giving up, [Queue.Deliver] answers every fence of
// that delivery with "no", and an agent without the token never binds.
package queue
