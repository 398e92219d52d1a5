// Package domains holds tests with several domain controllers and several forests: real Samba in network namespaces, a real service and real
// agents, and what becomes of people's passwords when a domain controller freezes, dies, or loses its packets, and when forests trust each other.
//
//	people ══▶ sallyport ══ agent ──▶ dc1 ┐ of one domain
//	                │           └───▶ dc2 ┘
//	                ╞══ agent ──▶ dc1.corp.example.com ┐ two forests
//	                └══ agent ──▶ dc1.partner.test     ┘ that trust each other
//
// It has no code of its own: the domain controllers are package samba's, the installation is package world's. It needs root, and
// skips itself with the reason elsewhere.
package domains
