package wire

// Version is the number of the protocol between service and agent. A service serves agents whose number is at least
// [OldestVersion]; an agent whose number is higher than the service's speaks the service's.
//
// The diary, one line a change:
//
//	1  Attach stream with Hello, Welcome, Check, Fence (with a nonce), Go (for that nonce), Answer, Refusal, Heartbeat, Drain, Goodbye; envelope suite 1.
//	2  Counter in Hello; Probe and Probed; Order, Renew and Renewed.
const Version = 2

// OldestVersion is the lowest protocol number that this service still serves.
const OldestVersion = 1

// AttachMethod is the full gRPC method name of the agent's one bidirectional stream.
const AttachMethod = "/sallyport.link.v1.AgentLink/Attach"
