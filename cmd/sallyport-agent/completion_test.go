package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestCompletion asks a real bash what it would offer.
func TestCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		if os.Getenv("SALLYPORT_CI") != "" {
			t.Fatal("bash is missing")
		}
		t.Skip("bash is not installed")
	}
	script := execute(t, nil, "completion", "bash")
	if script.code != 0 || !strings.Contains(script.out, "complete -F _sallyport_agent sallyport-agent") {
		t.Fatalf("%+v", script)
	}
	for words, want := range map[string]string{
		"sallyport-agent do":                       "doctor",
		"sallyport-agent --state /x logs bu":       "bundle",
		"sallyport-agent run --monitor-r":          "--monitor-remote",
		"sallyport-agent doctor --dom":             "--domain",
		"sallyport-agent test-signin --dc-s":       "--dc-starttls",
		"sallyport-agent completion f":             "fish",
		"sallyport-agent register --token-fi":      "--token-file",
		"sallyport-agent service un":               "uninstall",
		"sallyport-agent status --output json --c": "--checks --config",
	} {
		line := strings.Split(words, " ")
		program := script.out + "\nCOMP_WORDS=('" + strings.Join(line, "' '") + "')\nCOMP_CWORD=" + string(rune('0'+len(line)-1)) + "\n_sallyport_agent\necho \"${COMPREPLY[*]}\"\n"
		out, err := exec.CommandContext(t.Context(), bash, "--norc", "-c", program).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q offers %q, not %q (%v)", words, got, want, err)
		}
	}
	for shell, want := range map[string]string{"zsh": "bashcompinit", "fish": `complete -c sallyport-agent -n '__sallyport_agent_at ""' -a doctor`} {
		if r := execute(t, nil, "completion", shell); r.code != 0 || !strings.Contains(r.out, want) {
			t.Errorf("%s: %+v", shell, r)
		}
	}
}
