package attack

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// commandLines are the operators' commands that call the admin API, with an identifier wherever one fits: {any} is the own tenant or
// theirs, all others are of another tenant. An empty list is for commands that call no API.
var commandLines = map[string][]string{
	"serve": nil, "init": nil, "demo": nil, "config print": nil, "config check": nil, "explain": nil, "completion": nil, "token renew": nil,

	"tenant create": {"{tenant}"},
	"tenant list":   {""},
	"tenant show":   {"{tenant}"},
	"tenant change": {"{tenant} --display-name x"},
	"tenant remove": {"{tenant} --yes"},

	"tenant verification show": {"{tenant}"},
	"tenant verification set":  {"{tenant} --administrators"},
	"tenant registration show": {"{tenant}"},
	"tenant registration set":  {"{tenant} --approval needed"},

	"tenant keys show": {"{tenant}"},
	"tenant keys set":  {"{tenant} --require hardware"},

	"domain create": {"new.example --directory {directory} -t {any}"},
	"domain list":   {"-t {tenant}"},
	"domain show":   {"{domain} -t {any}"},
	"domain change": {"{domain} --admit-users -t {any}"},
	"domain remove": {"{domain} -t {any}"},

	"directory create": {"new -t {tenant}"},
	"directory list":   {"-t {tenant}"},
	"directory show":   {"{directory} -t {any}"},
	"directory proof":  {"{directory} -t {any}"},
	"directory unpin":  {"{directory} -t {any}"},
	"directory change": {"{directory} --name renamed -t {any}"},
	"directory remove": {"{directory} -t {any}"},

	"directory canary set":    {"{directory} --name decoy@corp.example -t {any}", "{directory} --name decoy@corp.example --password-file {file} -t {any}"},
	"directory canary show":   {"{directory} -t {any}"},
	"directory canary remove": {"{directory} -t {any}"},

	"user create":       {"new@cloudofa.example --directory {directory} -t {any}"},
	"user list":         {"-t {tenant}"},
	"user show":         {"{user} -t {any}"},
	"user change":       {"{user} --display-name x -t {any}"},
	"user set-password": {"{user} --password-file {file} -t {any}"},
	"user unlock":       {"{user} -t {any}"},
	"user sign-out":     {"{user} -t {any}"},
	"user remove":       {"{user} -t {any}"},

	"app create": {"new --redirect https://app.example/ -t {tenant}"},
	"app list":   {"-t {tenant}"},
	"app show":   {"{app} -t {any}"},
	"app change": {"{app} --name x -t {any}"},
	"app secret": {"{app} -t {any}"},
	"app remove": {"{app} -t {any}"},

	"agent list":         {"-t {tenant}"},
	"agent show":         {"{agent} -t {any}"},
	"agent change":       {"{agent} --name renamed -t {any}"},
	"agent revoke":       {"{agent} --reason x -t {any}"},
	"agent remove":       {"{agent} -t {any}"},
	"agent rename":       {"{agent} renamed -t {any}"},
	"agent history":      {"{agent} -t {any}"},
	"agent approve":      {"{agent} -t {any}"},
	"agent deny":         {"{agent} -t {any}"},
	"agent drain":        {"{agent} -t {any}"},
	"agent resume":       {"{agent} -t {any}"},
	"agent renew":        {"{agent} -t {any}", "--all -t {tenant}"},
	"agent release":      {"{agent} -t {any}"},
	"agent token create": {"--directory {directory} -t {any}"},
	"agent token list":   {"-t {tenant}"},
	"agent token remove": {"{token} -t {any}"},

	"signin list": {"-t {tenant}", "--trace {trace} -t {any}", "--user {user} -t {any}", "--name {upn} -t {any}"},

	"signin show": {"{trace} -t {any}"},
	// It asks what signin list asks, until it is interrupted.
	"signin follow": nil,

	"log list":       {"-t {tenant}"},
	"log show":       {"0 -t {tenant}"},
	"log export":     {"-t {tenant}"},
	"log checkpoint": {"-t {tenant}"},
	"log key":        {"-t {tenant}"},
	// It reads files alone.
	"log verify": nil,

	"key rotate":  {"--algorithm ES256 -t {tenant}"},
	"key replace": {"--algorithm ES256 --yes -t {tenant}"},

	"token create": {"-t {tenant}"},
	"token list":   {""},
	"token remove": {"{token}"},
}

// program is a built command line with the token of one tenant.
type program struct {
	t    *testing.T
	path string
	env  []string
	file string // with a password
}

// said is how a command ended.
type said struct {
	code     int
	out, err string
}

func (p program) run(args ...string) said {
	p.t.Helper()
	var out, errs bytes.Buffer
	c := exec.Command(p.path, args...)
	c.Env, c.Stdout, c.Stderr = p.env, &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return said{c.ProcessState.ExitCode(), out.String(), errs.String()}
}

// commands are the program's own list of what it can do, groups left out.
func (p program) commands() []string {
	p.t.Helper()
	script := p.run("completion", "bash").out
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^\s*" ([a-z -]+)"\) at=`).FindAllStringSubmatch(script, -1) {
		if n := len(all); n > 0 && strings.HasPrefix(m[1], all[n-1]+" ") {
			all = all[:n-1] // the group that this one is in
		}
		all = append(all, m[1])
	}
	if len(all) < 40 {
		p.t.Fatalf("the commands are %v", all)
	}
	return all
}

// expand fills the places of a line with every spelling.
func expand(line string, own, x ids, file string) []string {
	lines := []string{line}
	for _, s := range []struct {
		place string
		with  []string
	}{{"{any}", []string{own.TenantName, x.TenantName}}, {"{tenant}", []string{x.TenantName, x.Tenant}},
		{"{directory}", []string{x.Directory, x.DirectoryName}}, {"{domain}", []string{x.Domain}}, {"{user}", []string{x.User, x.UPN}}, {"{upn}", []string{x.UPN}},
		{"{app}", []string{x.App}}, {"{agent}", []string{x.Agent, x.AgentName}}, {"{token}", []string{x.AgentToken, x.AdminToken}},
		{"{trace}", []string{x.Trace}}, {"{file}", []string{file}}} {
		var filled []string
		for _, l := range lines {
			if !strings.Contains(l, s.place) {
				filled = append(filled, l)
				continue
			}
			for _, w := range s.with {
				filled = append(filled, strings.ReplaceAll(l, s.place, w))
			}
		}
		lines = filled
	}
	return lines
}

// TestCommandLineIsolation gives the operators' program the token of one tenant and the identifiers of another: each command ends as
// with identifiers of nowhere, in code and words.
func TestCommandLineIsolation(t *testing.T) {
	n := newInstallation(t)
	own, theirs := n.furnish("a"), n.furnish("b")
	nowhere := theirs.nowhere()
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	p := program{t: t, path: filepath.Join(dir, "sallyport"), file: write("password", "a-new-Passw0rd-of-somebody\n")}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", p.path, "../../cmd/sallyport")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	p.env = []string{"HOME=" + dir, "SALLYPORT_SERVER=" + n.admin, "SALLYPORT_CA_FILE=" + n.caFile,
		"SALLYPORT_TOKEN_FILE=" + write("token", own.AdminSecret+"\n")}
	if got := p.run("directory", "show", own.Directory, "-t", own.TenantName); got.code != 0 || !strings.Contains(got.out, own.DirectoryName) {
		t.Fatalf("an honest command: %+v", got)
	}
	all, asked := p.commands(), 0
	for _, command := range all {
		lines, known := commandLines[command]
		if !known {
			t.Errorf("\"sallyport %s\" is not covered: write into commandLines how another tenant's identifiers fit into it", command)
		}
		for _, line := range lines {
			there, none := expand(line, own, theirs, p.file), expand(line, own, nowhere, p.file)
			for i := range there {
				asked++
				got := p.run(append(strings.Fields(command), strings.Fields(there[i])...)...)
				want := p.run(append(strings.Fields(command), strings.Fields(none[i])...)...)
				if got.code != want.code || mask(got.out, theirs) != mask(want.out, nowhere) || mask(got.err, theirs) != mask(want.err, nowhere) {
					t.Errorf("%s %s: %d %s%s\nof nowhere: %d %s%s", command, there[i], got.code, got.out, got.err, want.code, want.out, want.err)
				}
				if got.code == 2 {
					t.Errorf("%s %s is no command: %s", command, there[i], got.err)
				}
				answer{body: got.out + got.err}.tells(t, theirs, command+" "+there[i])
			}
		}
	}
	if asked < 80 {
		t.Errorf("%d commands were tried", asked)
	}
	n.unharmed(theirs)
}
