package main

import (
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/service/admin"
)

func TestFewAgents(t *testing.T) {
	agents := func(states ...string) (all []admin.Agent) {
		for _, s := range states {
			all = append(all, admin.Agent{Directory: "d", State: strings.TrimSuffix(s, "!"), Connected: strings.HasSuffix(s, "!")})
		}
		return all
	}
	for what, c := range map[string]struct {
		evaluation bool
		agents     []admin.Agent
		want       string
	}{
		"three":                       {false, agents("active!", "active!", "active!"), ""},
		"two":                         {false, agents("active!", "active!"), "corp has 2 agents"},
		"one, and one drained":        {false, agents("active!", "drained!"), "corp has one agent"},
		"none":                        {false, nil, "corp has no agent"},
		"three that are away":         {false, agents("active", "active", "active"), "corp has no agent"},
		"one, for evaluation":         {true, agents("active!"), ""},
		"agents of another directory": {false, []admin.Agent{{Directory: "x", State: "active", Connected: true}}, "corp has no agent"},
	} {
		got := strings.Join(fewAgents([]admin.Directory{{ID: "d", Name: "corp", Evaluation: c.evaluation}}, c.agents), "\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

func TestKeysOf(t *testing.T) {
	for want, a := range map[string]admin.Agent{"tpm": {KeyStore: "tpm"}, "file": {KeyStore: "file"}, "file, not renewed": {KeyStore: "file", KeyStoreRefused: true}} {
		if got := keysOf(a); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
