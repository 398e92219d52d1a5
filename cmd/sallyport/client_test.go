package main

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/wire"
)

// What lies within a thing is told in words too, and not as the program has it in memory.
func TestPrintFields(t *testing.T) {
	type within struct {
		State string `json:"state"`
		Spare int64  `json:"spare"`
	}
	var out bytes.Buffer
	err := printFields(&out, struct {
		Name   string   `json:"name"`
		Groups []string `json:"groups"`
		Health within   `json:"health"`
		None   []string `json:"none"`
		DCs    []within `json:"dcs"`
		Nobody *within  `json:"nobody"`
	}{"ada", []string{"All", "Sales, Berlin"}, within{"well", 9007199254740993}, []string{}, []within{{"serving", 1}, {"down", 0}}, nil})
	const want = `name          ada
groups        All
              Sales, Berlin
health.state  well
health.spare  9007199254740993
none          -
dcs           state serving, spare 1
              state down, spare 0
nobody        -
`
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// An administrator hears what was wrong, and what a person would have seen only where the service says nothing nearer.
func TestProblems(t *testing.T) {
	for want, p := range map[string]wire.Problem{
		"90009 not-found: no user “x”\n  What to do: Look.\n  Trace: 1": {Code: wire.NotFound, Title: "There is nothing here.", Detail: "no user “x”", Remedy: "Look.", Trace: "1"},
		"90009 not-found: There is nothing here.":                       {Code: wire.NotFound, Title: "There is nothing here."},
		"99999: Something new.":                                         {Code: 99999, Title: "Something new."},
		"502 Bad Gateway":                                               {Title: "502 Bad Gateway"},
	} {
		if got := (&admin.ProblemError{Problem: p}).Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestProgram(t *testing.T) {
	for arg0, want := range map[string]string{"sallyport": "sallyport", "/usr/local/bin/sallyport": "/usr/local/bin/sallyport",
		filepath.FromSlash("/tmp/go-build1928756036/b001/exe/sallyport"): ""} {
		if got := program(arg0); got != want {
			t.Errorf("%s: %q, want %q", arg0, got, want)
		}
	}
}
