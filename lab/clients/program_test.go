package clients

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// party is a client program of somebody else's library, which does what it is told: a JSON object a line there and back.
type party struct {
	t     *testing.T
	to    *json.Encoder
	lines *bufio.Scanner
}

// said is an answer of a party. Refused is what its library objected to.
type said struct {
	Refused      string
	URL          string
	Alg, Kid     string
	Scope        string
	RefreshToken string
	Claims       map[string]any
}

// runParty starts a program in dir; it ends with the test, when its input does. Nothing of our environment reaches it but PATH and HOME.
func runParty(t *testing.T, dir string, env []string, program string, args ...string) *party {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Env = dir, append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	cmd.Stderr = logFile(t, filepath.Join(t.TempDir(), filepath.Base(program)+".stderr"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // the test's end may have killed it already
	})
	p := &party{t: t, to: json.NewEncoder(in), lines: bufio.NewScanner(out)}
	p.lines.Buffer(nil, 1<<20)
	return p
}

// try tells a command and returns what came of it.
func (p *party) try(do string, with map[string]string) said {
	p.t.Helper()
	command := map[string]string{"do": do}
	for k, v := range with {
		command[k] = v
	}
	if err := p.to.Encode(command); err != nil {
		p.t.Fatal(err)
	}
	if !p.lines.Scan() {
		p.t.Fatalf("the client ended at %s: %v", do, p.lines.Err())
	}
	var out said
	if err := json.Unmarshal(p.lines.Bytes(), &out); err != nil {
		p.t.Fatalf("%s: %v in %q", do, err, p.lines.Text())
	}
	return out
}

// must tells a command that has to succeed.
func (p *party) must(do string, with map[string]string) said {
	p.t.Helper()
	out := p.try(do, with)
	if out.Refused != "" {
		p.t.Fatalf("%s was refused: %s", do, out.Refused)
	}
	return out
}
