package service

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"syscall"
)

// bind opens the listeners of the process's roles, so that a taken port is said before anything is served. A public URL with
// port 0 gets the port that the sign-in listener was given.
func (s *Service) bind() error {
	for _, l := range []struct {
		key, address string
		wanted       bool
		to           *net.Listener
	}{
		{"signin.listen", s.cfg.Signin.Listen, s.cfg.Has(RoleSignin), &s.signinListener},
		{"gateway.listen", s.cfg.Gateway.Listen, s.cfg.Has(RoleGateway), &s.gatewayListener},
		{"admin.listen", s.cfg.Admin.Listen, s.cfg.Has(RoleAdmin), &s.adminListener},
		{"monitor.listen", s.cfg.Monitor.Listen, s.cfg.Monitor.Listen != "", &s.monitorListener},
	} {
		if !l.wanted {
			continue
		}
		opened, err := net.Listen("tcp", l.address)
		if err != nil {
			return explainListen(l.key, l.address, err)
		}
		*l.to = opened
	}
	public, err := url.Parse(s.cfg.PublicURL)
	if err != nil {
		return fmt.Errorf("public_url: %w", err)
	}
	if public.Port() == "0" {
		public.Host = net.JoinHostPort(public.Hostname(), port(s.signinListener))
		s.cfg.PublicURL = public.String()
	}
	return nil
}

// port is the number that a listener was given.
func port(l net.Listener) string {
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return ""
	}
	return port
}

// explainListen names the setting of a listener that could not be opened, and the remedy.
func explainListen(key, address string, err error) error {
	var lookup *net.DNSError
	switch {
	case inUse(err):
		return fmt.Errorf("%s: %s is taken by another program, or by another sallyport. Stop that, or choose another port: %w", key, address, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: this user may not listen on %s. Ports below 1024 need the capability CAP_NET_BIND_SERVICE "+
			"(systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE), or choose a higher port: %w", key, address, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.As(err, &lookup):
		return fmt.Errorf("%s: %s is no address of this machine. Give one of its own, or :PORT for all: %w", key, address, err)
	}
	return fmt.Errorf("%s: %w", key, err)
}
