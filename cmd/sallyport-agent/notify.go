package main

import (
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
)

// notifier tells the service manager how the agents of this process stand: datagrams of lines KEY=value to the socket that it names in NOTIFY_SOCKET
// (sd_notify(3)). Where there is none, it does nothing. Safe for concurrent use.
type notifier struct {
	socket string

	mu    sync.Mutex
	ready bool
	last  string
	// says is the last word of each agent, by instance; due are those that have not spoken since the watchdog was fed, and ended those that never will.
	says       map[string]string
	due, ended map[string]bool
}

// newNotifier returns one for the agents of these instances, or without any for the one agent that has no name.
func newNotifier(instances ...string) *notifier {
	n := &notifier{socket: os.Getenv("NOTIFY_SOCKET"), says: map[string]string{}, due: map[string]bool{}, ended: map[string]bool{}}
	if len(instances) == 0 {
		instances = []string{""}
	}
	for _, name := range instances {
		n.due[name] = true
	}
	return n
}

// of returns what an agent is to call with each of its statuses. The process is ready when the first works, attached or not: a gateway that is away
// must not keep a host from starting. When all that live have spoken the watchdog is fed, since a status needs every lock that an agent has; so one
// that is stuck is not hidden by the others.
func (n *notifier) of(instance string) func(agent.Status) {
	return func(s agent.Status) {
		if n.socket == "" {
			return
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if lines := n.heard(instance, s); len(lines) > 0 {
			n.send(strings.Join(lines, "\n"))
		}
	}
}

// gone notes that an agent has ended, or never began: nobody waits for its word.
func (n *notifier) gone(instance string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.due, instance)
	n.ended[instance] = true
	if n.says[instance] == "" {
		n.says[instance] = "does not run"
	}
}

// heard takes one status in and returns what the service manager is to be told.
func (n *notifier) heard(instance string, s agent.Status) (lines []string) {
	delete(n.due, instance)
	if n.ended[instance] = s.Ended != ""; !n.ended[instance] {
		delete(n.ended, instance)
	}
	n.says[instance] = brief(s)
	switch living := len(n.says) - len(n.ended); {
	case len(n.due) > 0: // others have not spoken yet
	case living == 0:
		lines = append(lines, "STOPPING=1")
	default:
		lines = append(lines, "WATCHDOG=1")
		for name := range n.says {
			if !n.ended[name] {
				n.due[name] = true
			}
		}
	}
	if !n.ready && s.Ended == "" {
		n.ready, lines = true, append(lines, "READY=1")
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(n.says)) {
		if name == "" {
			all = append(all, n.says[name])
		} else {
			all = append(all, name+": "+n.says[name])
		}
	}
	if says := strings.Join(all, " | "); says != n.last {
		lines, n.last = append(lines, "STATUS="+says), says
	}
	return lines
}

// send is lossy on purpose: a manager that does not listen is no reason for the agent to fail.
func (n *notifier) send(text string) {
	name := n.socket
	if strings.HasPrefix(name, "@") { // Linux' abstract names, which begin with a NUL
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(text))
}

// brief is the agent's state in one line, for systemctl status.
func brief(s agent.Status) string {
	if s.Ended != "" {
		return oneLine("ended: " + s.Ended)
	}
	serving := 0
	for _, d := range s.Servers {
		if d.State == ldap.Serving {
			serving++
		}
	}
	return oneLine(fmt.Sprintf("%s to %s; %d of %d domain controllers serve; %d right, %d wrong, %d without a verdict, %d refused",
		s.Link.State, s.Link.Address, serving, len(s.Servers), s.Tally.Right, s.Tally.Wrong, s.Tally.Trouble, s.Tally.Refused))
}

// oneLine keeps what others said from being taken for lines of the protocol.
func oneLine(s string) string { return strings.NewReplacer("\n", " ", "\r", " ").Replace(s) }
