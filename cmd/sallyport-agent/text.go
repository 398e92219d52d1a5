package main

import (
	"github.com/sallyport-auth/sallyport/agent"
)

func printServers(row func(string, string, ...any), s agent.Status) {
	for _, d := range s.Servers {
		row("dc", "%s %s", d.Address, d.LastError)
	}
}
