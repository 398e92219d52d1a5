package world

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport-auth/sallyport/lab/process"
	"github.com/sallyport-auth/sallyport/service/admin"
)

// startAgents registers the agents with one token and runs them. Each goes out through a line of its own, agent-1 to the first
// gateway, agent-2 to the second and so on; to the other one when its own does not take it.
func (w *World) startAgents(ctx context.Context) error {
	if w.o.Agents == 0 {
		return nil
	}
	return w.addAgents(ctx, firstDirectory, w.dcs, w.o.Agents)
}

// addAgents does that for one directory.
func (w *World) addAgents(ctx context.Context, directory string, dcs Directory, count int) error {
	var token admin.AgentToken
	if err := w.API.Do(ctx, http.MethodPost, admin.Path("tenants", tenantName, "agent-tokens"),
		admin.AgentTokenInput{Directory: directory, Note: "lab", Uses: count, LifeSeconds: 600}, &token); err != nil {
		return err
	}
	file := filepath.Join(w.o.Dir, "agent-token")
	if err := os.WriteFile(file, []byte(token.Secret+"\n"), 0o600); err != nil {
		return err
	}
	for range count {
		n, err := w.agent(ctx, len(w.Agents), file, dcs)
		if err != nil {
			return fmt.Errorf("agent %d: %w", len(w.Agents)+1, err)
		}
		if err := n.launch(); err != nil {
			return err
		}
		w.Agents = append(w.Agents, n)
	}
	for _, n := range w.Agents {
		if err := n.AwaitReady(ctx); err != nil {
			return err
		}
	}
	return w.AwaitAgents(ctx, len(w.Agents))
}

// agent registers one agent, of the directory whose token it is.
func (w *World) agent(ctx context.Context, i int, tokenFile string, dcs Directory) (*Node, error) {
	name := fmt.Sprintf("agent-%d", i+1)
	state := w.data(name)
	targets := make([]string, 0, len(w.Gateways))
	for j := range w.Gateways {
		targets = append(targets, w.Gateways[(i+j)%len(w.Gateways)].agentsAt)
	}
	line, err := w.line(true, false, targets...)
	if err != nil {
		return nil, err
	}
	register := []string{"register", "--service", w.publicURL(), "--token-file", tokenFile, "--ca-file", w.caFile, "--state", state, "--name", name, "--instance", name}
	if w.o.TPM != "" {
		register = append(register, "--key-store", "tpm", "--tpm-device", w.o.TPM)
	}
	if err := process.RunToEnd(ctx, w.o.Programs.Agent, register...); err != nil {
		return nil, err
	}
	proxy := url.URL{Scheme: "http", Host: line.Address()}
	monitor, err := w.address()
	if err != nil {
		return nil, err
	}
	n := &Node{Name: name, LogFile: state + ".log", Line: line, program: w.o.Programs.Agent, monitor: monitor, ready: isAttached}
	// No limits of the agent's own: a lab asks for the same few names over and over.
	n.args = []string{"run", "--state", state, "--log-level", w.logLevel(), "--name-rate=-1", "--rate=-1", "--monitor", monitor}
	if !w.o.Quiet {
		n.args = append(n.args, "--proxy", proxy.String())
	}
	for _, address := range dcs.Addresses {
		n.args = append(n.args, "--dc", address)
	}
	if dcs.CAFile != "" {
		n.args = append(n.args, "--dc-ca-file", dcs.CAFile)
	}
	if len(dcs.NameServers) > 0 {
		n.args = append(n.args, "--domain", dcs.Domain)
		return n, n.resolveBy(state+".resolv.conf", dcs.NameServers)
	}
	return n, nil
}

// resolveBy has the program run with a resolv.conf of its own, of which the file is made.
func (n *Node) resolveBy(file string, servers []string) error {
	var conf strings.Builder
	for _, server := range servers {
		fmt.Fprintf(&conf, "nameserver %s\n", server)
	}
	n.args = append([]string{"--mount", "sh", "-c", `mount --bind "$0" "$(readlink -f /etc/resolv.conf)" && exec "$@"`, file, n.program}, n.args...)
	n.program = "unshare"
	return os.WriteFile(file, []byte(conf.String()), 0o644)
}

// isAttached looks for the agent's word that it is attached, in its present life.
func isAttached(_ context.Context, n *Node) error {
	if n.Logged("attached to gateway") == 0 {
		return errors.New("not attached yet")
	}
	return nil
}
