// Package deploy_test holds what operators install to what the programs do: the units to systemd's own judgement, alerting
// rules and dashboard to the metrics that a running service shows, and the page about metrics to both.
package deploy_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service"
	"github.com/sallyport-auth/sallyport/wire"
)

// family is one metric as it is shown: its type, and for each label the values.
type family struct {
	kind   string
	help   string
	labels map[string][]string
}

// scrape reads the metrics of a service with all roles and of an agent, each run on free ports.
func scrape(t *testing.T) map[string]*family {
	t.Helper()
	all := scrapeService(t)
	for name, f := range scrapeAgent(t) {
		if all[name] != nil && strings.HasPrefix(name, "sallyport_") {
			t.Errorf("service and agent both show %s", name)
		}
		all[name] = f
	}
	return all
}

// scrapeAgent runs an agent that finds neither gateway nor domain controller.
func scrapeAgent(t *testing.T) map[string]*family {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	opener, err := envelope.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: []*url.URL{wire.AgentIdentity{TrustDomain: "localhost", Tenant: "t1", Agent: "a1"}.URI()}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.New(identity.Facts{Service: "https://localhost:1", Gateway: "127.0.0.1:1", TenantID: "t1", DirectoryID: "d1", AgentID: "a1",
		TrustDomain: "localhost", Registered: now}, key, []*x509.Certificate{certificate}, opener)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := agent.ListenMonitor("127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	reader := ldap.Guard{Reader: "reader@corp.example", Password: wire.NewSecret([]byte("secret"))}
	a, err := agent.New(agent.Config{Identity: id, LDAP: ldap.Config{Servers: []string{"ldaps://127.0.0.1:1"}, Guard: reader}, Monitor: listener})
	if err != nil {
		t.Fatal(err)
	}
	return whileRunning(t, a.Run, listener.Addr().String())
}

// scrapeService runs a service.
func scrapeService(t *testing.T) map[string]*family {
	t.Helper()
	cfg := service.Defaults()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.PublicURL = "https://localhost:0"
	cfg.TLS.LocalCA = true
	cfg.RegistrationLog.File = filepath.Join(t.TempDir(), "registrations.jsonl") // a receiver has numbers of its own
	for _, l := range []*string{&cfg.Signin.Listen, &cfg.Gateway.Listen, &cfg.Admin.Listen, &cfg.Monitor.Listen} {
		*l = "127.0.0.1:0"
	}
	s, err := service.New(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return whileRunning(t, s.Run, s.Addresses().Monitor)
}

// whileRunning reads the metrics of a program that runs.
func whileRunning(t *testing.T, run func(context.Context) error, monitor string) map[string]*family {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + monitor + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: %s", resp.Status)
	}
	return parseMetrics(t, bufio.NewScanner(resp.Body))
}

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? \S+$`)
	labelPair  = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"`)
)

// parseMetrics reads the text format.
func parseMetrics(t *testing.T, lines *bufio.Scanner) map[string]*family {
	t.Helper()
	out := map[string]*family{}
	named := func(name string) *family {
		if out[name] == nil {
			out[name] = &family{labels: map[string][]string{}}
		}
		return out[name]
	}
	for lines.Scan() {
		words := strings.SplitN(lines.Text(), " ", 4)
		switch {
		case len(words) == 4 && words[0] == "#" && words[1] == "HELP":
			named(words[2]).help = words[3]
		case len(words) == 4 && words[0] == "#" && words[1] == "TYPE":
			named(words[2]).kind = words[3]
		default:
			m := sampleLine.FindStringSubmatch(lines.Text())
			if m == nil {
				t.Fatalf("/metrics: %q", lines.Text())
			}
			f := out[base(m[1], out)]
			if f == nil {
				t.Fatalf("/metrics: %s has no type", m[1])
			}
			for _, l := range labelPair.FindAllStringSubmatch(m[2], -1) {
				if l[1] != "le" {
					f.labels[l[1]] = append(f.labels[l[1]], l[2])
				}
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// base is the name of the metric that a series belongs to.
func base(series string, all map[string]*family) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if name, ok := strings.CutSuffix(series, suffix); ok && all[name] != nil && slices.Contains([]string{"histogram", "summary"}, all[name].kind) {
			return name
		}
	}
	return series
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// ours are the metrics that are not of the Go runtime or the process.
func ours(all map[string]*family) map[string]*family {
	out := map[string]*family{}
	for name, f := range all {
		if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			out[name] = f
		}
	}
	return out
}

var row = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (\\w+) \\| ([^|]*) \\|")

// TestPageListsTheMetrics: what is shown stands on the page, with type and labels, and what stands there is shown.
func TestPageListsTheMetrics(t *testing.T) {
	real := ours(scrape(t))
	listed := map[string]bool{}
	for _, m := range row.FindAllStringSubmatch(string(read(t, "../docs/operating/metrics.md")), -1) {
		name, kind, labels := m[1], m[2], []string{}
		for _, l := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(m[3], -1) {
			labels = append(labels, l[1])
		}
		listed[name] = true
		f := real[name]
		if f == nil {
			t.Errorf("the page lists %s, which nobody shows", name)
			continue
		}
		var have []string
		for l := range f.labels {
			have = append(have, l)
		}
		slices.Sort(have)
		slices.Sort(labels)
		if f.kind != kind || !slices.Equal(have, labels) {
			t.Errorf("%s is a %s with labels %q, and the page says %s with %q", name, f.kind, have, kind, labels)
		}
	}
	for name := range real {
		if !listed[name] {
			t.Errorf("%s is not on the page", name)
		}
	}
	if len(listed) < 10 {
		t.Errorf("only %d metrics are listed: is the table still a table?", len(listed))
	}
}

// TestNames holds metrics to the conventions of Prometheus (prometheus.io/docs/practices/naming).
func TestNames(t *testing.T) {
	for name, f := range ours(scrape(t)) {
		if !strings.HasPrefix(name, "sallyport_") {
			t.Errorf("%s does not begin with sallyport_", name)
		}
		if f.help == "" {
			t.Errorf("%s has no help", name)
		}
		if total := strings.HasSuffix(name, "_total"); total != (f.kind == "counter") {
			t.Errorf("%s is a %s: counters, and nothing else, end in _total", name, f.kind)
		}
		if f.kind == "histogram" && !strings.HasSuffix(name, "_duration_seconds") && !strings.HasSuffix(name, "_bytes") {
			t.Errorf("the histogram %s does not name what it measures and its base unit", name)
		}
		for _, odd := range []string{"_ms", "_millis", "_milliseconds", "_minutes", "_kb", "_percent", "_count", "_sum"} {
			if strings.HasSuffix(name, odd) {
				t.Errorf("%s ends in %s, which is no base unit or means something else", name, odd)
			}
		}
		for label, values := range f.labels {
			slices.Sort(values)
			if n := len(slices.Compact(values)); n > 60 {
				t.Errorf("%s has %d values of %s", name, n, label)
			}
		}
	}
}

var selector = regexp.MustCompile(`\b((?:sallyport|process|go)_[a-z0-9_]+)(?:\{([^}]*)\})?`)
var matcher = regexp.MustCompile(`([a-z_]+)\s*(=~|!=|!~|=)\s*"([^"]*)"`)

// scraped are labels that the scraper adds.
var scraped = []string{"job", "instance"}

// holdExpression holds every selector of an expression to the metrics that there are: name, labels, and values.
func holdExpression(t *testing.T, where, expression string, real map[string]*family) {
	t.Helper()
	found := selector.FindAllStringSubmatch(expression, -1)
	if len(found) == 0 && !strings.Contains(expression, "up{") {
		t.Errorf("%s: no metric of ours in %q", where, expression)
	}
	for _, m := range found {
		f := real[base(m[1], real)]
		if f == nil {
			t.Errorf("%s: nobody shows %s", where, m[1])
			continue
		}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			label, op, value := l[1], l[2], l[3]
			if slices.Contains(scraped, label) || label == "le" {
				continue
			}
			values, ok := f.labels[label]
			if !ok {
				t.Errorf("%s: %s has no label %s", where, m[1], label)
				continue
			}
			for one := range strings.SplitSeq(value, "|") {
				if code, err := strconv.Atoi(one); label == "code" && err == nil {
					if _, known := wire.Lookup(wire.Code(code)); !known && code != 0 {
						t.Errorf("%s: %s is no code", where, one)
					}
				}
				// What is to be found must be there from the start, or the increase of its first event goes unseen.
				if (op == "=" || op == "=~") && !slices.Contains(values, one) {
					t.Errorf("%s: %s shows no %s=%q from the start", where, m[1], label, one)
				}
			}
		}
	}
}

type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

// TestAlerts: each rule asks for metrics, labels and values that exist, and tells a person what to do.
func TestAlerts(t *testing.T) {
	real := scrape(t)
	var file ruleFile
	if err := yaml.Unmarshal(read(t, "prometheus/alerts.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	rules := map[string]bool{}
	for _, group := range file.Groups {
		for _, r := range group.Rules {
			if rules[r.Alert] {
				t.Errorf("two rules are called %s", r.Alert)
			}
			rules[r.Alert] = true
			holdExpression(t, r.Alert, r.Expr, real)
			if s := r.Labels["severity"]; s != "page" && s != "ticket" {
				t.Errorf("%s: severity %q", r.Alert, s)
			}
			if r.Annotations["summary"] == "" || len(r.Annotations["description"]) < 20 {
				t.Errorf("%s: without summary or description", r.Alert)
			}
		}
	}
	if len(rules) < 15 {
		t.Errorf("only %d rules", len(rules))
	}
}

// dashboards are the files in grafana, with the job that each is about and how many panels it has at least.
var dashboards = map[string]struct {
	job   string
	least int
}{"sallyport": {"sallyport", 12}, "sallyport-agent": {"sallyport-agent", 10}}

// TestDashboards: every expression of every panel asks for what exists, and panels do not overlap.
func TestDashboards(t *testing.T) {
	real := scrape(t)
	for name := range dashboards {
		t.Run(name, func(t *testing.T) { holdDashboard(t, name, real) })
	}
}

func holdDashboard(t *testing.T, name string, real map[string]*family) {
	var d struct {
		UID, Title string
		Panels     []struct {
			ID                 int
			Title, Description string
			GridPos            struct{ X, Y, W, H int }
			Targets            []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal(read(t, "grafana/"+name+".json"), &d); err != nil {
		t.Fatal(err)
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q: without title, description or target, or its id is taken", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, is := taken[at]; is || at[0] >= 24 {
					t.Fatalf("panel %q lies over %q or outside", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
		for _, target := range p.Targets {
			holdExpression(t, p.Title, target.Expr, real)
		}
	}
	if d.UID != name || len(d.Panels) < dashboards[name].least {
		t.Errorf("uid %q, %d panels", d.UID, len(d.Panels))
	}
}

// TestPromtool lets Prometheus's own tool check the rules and play the cases of alerts_test.yaml.
func TestPromtool(t *testing.T) {
	promtool := program(t, "promtool", "prometheus")
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		c := exec.CommandContext(t.Context(), promtool, args...)
		c.Dir = "prometheus"
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	// Every expression of the dashboards is read by the same parser, as a rule.
	type recording struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var rules []recording
	for name, about := range dashboards {
		var d struct {
			Panels []struct{ Targets []struct{ Expr string } }
		}
		if err := json.Unmarshal(read(t, "grafana/"+name+".json"), &d); err != nil {
			t.Fatal(err)
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				expr := strings.NewReplacer("$__rate_interval", "1m", "$job", about.job).Replace(target.Expr)
				rules = append(rules, recording{fmt.Sprintf("panel:%d", len(rules)), expr})
			}
		}
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("the dashboard's expressions: %v\n%s", err, out)
	}
}

// program finds a program of a Debian package, or skips; where nothing may be skipped, it fails.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("SALLYPORT_CI") != "" {
			t.Fatalf("%s is missing (Debian package %s)", name, pkg)
		}
		t.Skipf("%s is not installed (Debian package %s)", name, pkg)
	}
	return path
}
