package world

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/lab/process"
)

// startService makes the tenant and runs the service's processes.
func (w *World) startService(ctx context.Context) error {
	var err error
	if w.Front, err = w.line(false, true); err != nil {
		return err
	}
	if w.admins, err = w.line(false, false); err != nil {
		return err
	}
	gateways := []string{}
	for range 2 {
		at, err := w.address()
		if err != nil {
			return err
		}
		gateways = append(gateways, at)
	}
	if !w.split() {
		n, err := w.node("signin-1", "signin,gateway,admin", gateways[0], gateways[0])
		if err != nil {
			return err
		}
		w.Signins, w.Gateways = []*Node{n}, []*Node{n}
	}
	for i := 1; w.split() && i <= 2; i++ {
		n, err := w.node(fmt.Sprintf("signin-%d", i), "signin,admin", "", gateways[0])
		if err != nil {
			return err
		}
		w.Signins = append(w.Signins, n)
		if n, err = w.node(fmt.Sprintf("gateway-%d", i), "gateway", gateways[i-1], gateways[0]); err != nil {
			return err
		}
		w.Gateways = append(w.Gateways, n)
	}
	first := w.Signins[0]
	settings := first.args[1:]
	if err := process.RunToEnd(ctx, w.o.Programs.Service, append([]string{"init", "--tenant", tenantName}, settings...)...); err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(w.data(first.Name), "at-rest.key"))
	if err != nil {
		return err
	}
	for _, n := range w.nodes() {
		if n != first {
			if err := os.WriteFile(filepath.Join(w.data(n.Name), "at-rest.key"), key, 0o600); err != nil {
				return err
			}
		}
		if err := n.launch(); err != nil {
			return err
		}
	}
	for _, n := range w.nodes() {
		if err := n.AwaitReady(ctx); err != nil {
			return err
		}
	}
	w.Welcome(w.Signins...)
	return nil
}

// Welcome leads new browsers to these sign-in processes alone, as an operator's balancer does before one of them is stopped.
func (w *World) Welcome(to ...*Node) {
	targets := make([]string, len(to))
	for i, n := range to {
		targets[i] = n.browsersAt
	}
	w.Front.Lead(targets...)
}

// node describes one service process with its roles and where it listens for agents; it does not start it.
func (w *World) node(name, roles, gateway, public string) (*Node, error) {
	dir := w.data(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var at [3]string // sign-in, admin, monitor
	for i := range at {
		var err error
		if at[i], err = w.address(); err != nil {
			return nil, err
		}
	}
	_, port, _ := net.SplitHostPort(public)
	n := &Node{Name: name, LogFile: dir + ".log", program: w.o.Programs.Service, monitor: at[2], ready: isReady, agentsAt: gateway}
	n.args = []string{"serve"}
	set := func(key, value string) { n.args = append(n.args, "--set", key+"="+value) }
	set("data", dir)
	set("public_url", w.publicURL())
	set("roles", roles)
	set("gateway.public_address", "localhost:"+port)
	set("gateway.name", name)
	set("monitor.listen", at[2])
	set("log.level", w.logLevel())
	set("drain", drain)
	if w.o.CertificateLife > 0 {
		set("agents.certificate_life", w.o.CertificateLife.String())
	}
	n.args = append(n.args, w.tls...)
	if strings.Contains(roles, "signin") {
		set("signin.listen", at[0])
		set("admin.listen", at[1])
		n.browsersAt = at[0]
		w.admins.Lead(append(w.admins.targets, at[1])...)
	}
	if gateway != "" {
		set("gateway.listen", gateway)
	}
	w.DatabaseURL = w.o.Database
	for _, setting := range w.o.Settings {
		n.args = append(n.args, "--set", setting)
	}
	if !w.split() {
		w.DatabaseURL = "sqlite:" + filepath.Join(dir, "sallyport.db")
		return n, nil
	}
	set("database.url", w.o.Database)
	var err error
	if n.Line, err = w.line(false, false, w.o.Broker); err != nil {
		return nil, err
	}
	broker := n.Line.Address()
	if w.o.Quiet {
		broker = w.o.Broker
	}
	set("queue.url", "nats://"+broker)
	return n, nil
}

// probe is a short look at a process's monitor.
func (n *Node) probe(ctx context.Context, path string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.monitor+path, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, string(raw), err
}

// isReady asks a service process whether traffic is welcome.
func isReady(ctx context.Context, n *Node) error {
	status, body, err := n.probe(ctx, "/readyz")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s is not ready: %s", n.Name, body)
	}
	return err
}

// Metrics returns what the process's monitor tells, in Prometheus's text format.
func (n *Node) Metrics(ctx context.Context) (string, error) {
	status, body, err := n.probe(ctx, "/metrics")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s: its metrics answer with %d", n.Name, status)
	}
	return body, err
}

// attached is how many agents' streams end at a gateway; -1 when it does not say.
func (n *Node) attached(ctx context.Context) int {
	_, body, err := n.probe(ctx, "/metrics")
	if err != nil {
		return -1
	}
	for line := range strings.Lines(body) {
		if count, ok := strings.CutPrefix(line, "sallyport_gateway_attached_agents "); ok {
			if i, err := strconv.Atoi(strings.TrimSpace(count)); err == nil {
				return i
			}
		}
	}
	return -1
}
