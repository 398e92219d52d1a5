// Package systemd holds the units and users that packages install, for programs that install themselves. It does nothing.
package systemd

import _ "embed"

// AgentUnit runs the agent for ever, AgentRegisterUnit registers it once; Users are the lines of sysusers.d(5) for all programs.
var (
	//go:embed sallyport-agent.service
	AgentUnit string
	//go:embed sallyport-agent-register.service
	AgentRegisterUnit string
	//go:embed sysusers.conf
	Users string
)
