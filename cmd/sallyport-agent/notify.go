package main

import (
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
)

// notifier tells the service manager how the agent stands: datagrams of lines KEY=value to the socket that it names in NOTIFY_SOCKET
// (sd_notify(3)). Where there is none, it does nothing.
type notifier struct {
	socket string
	ready  bool
	last   string
}

func newNotifier() *notifier { return &notifier{socket: os.Getenv("NOTIFY_SOCKET")} }

// tell is called with each status of the agent. The agent is ready when it works, attached or not: a gateway that is away must not keep
// a host from starting. Every status feeds the watchdog, since one needs every lock that the agent has.
func (n *notifier) tell(s agent.Status) {
	if n.socket == "" {
		return
	}
	lines := []string{"WATCHDOG=1"}
	if !n.ready {
		lines, n.ready = append(lines, "READY=1"), true
	}
	if s.Ended != "" {
		lines = []string{"STOPPING=1"}
	}
	if says := brief(s); says != n.last {
		lines, n.last = append(lines, "STATUS="+says), says
	}
	n.send(strings.Join(lines, "\n"))
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
