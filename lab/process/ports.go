package process

import (
	"fmt"
	"net"
	"strconv"
)

// portsTried is how many ports after the wanted one are tried before the system is asked for any.
const portsTried = 50

// Ports hands out free loopback ports, near the wanted ones, each once. Progress, which may be nil, is told of ports that were
// taken.
type Ports struct {
	given    map[int]bool
	Progress func(string, ...any)
}

// Take returns a free port: the wanted one, else one of the next, and then says so.
func (p *Ports) Take(what string, wanted int) (string, error) {
	if p.given == nil {
		p.given = map[int]bool{}
	}
	for port := wanted; port < wanted+portsTried; port++ {
		if p.given[port] || !Free(port) {
			continue
		}
		if port != wanted {
			p.say("port %d is taken by another program: %s uses %d", wanted, what, port)
		}
		p.given[port] = true
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
	}
	return "", fmt.Errorf("no free port for %s between %d and %d", what, wanted, wanted+portsTried-1)
}

func (p *Ports) say(format string, args ...any) {
	if p.Progress != nil {
		p.Progress(format, args...)
	}
}

// Free reports whether a loopback port can be bound now, for both families where the machine has both: browsers may try ::1 first.
func Free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
