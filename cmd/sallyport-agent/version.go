package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"
)

const program = "sallyport-agent"

// version and commit are set by the linker in released builds (-X main.version=… -X main.commit=…).
var version, commit string

// build returns version and commit; builds without linker flags take what the Go tool recorded.
func build() (v, c string) {
	v, c = version, commit
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" {
			v = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && c == "" {
				c = s.Value
			}
		}
	}
	if v == "" {
		v = "(devel)"
	}
	if c == "" {
		c = "unknown"
	}
	return v, c
}

// versionFlag prints the version and ends the program.
type versionFlag bool

// BeforeReset is called by kong as soon as the flag is seen.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	v, c := build()
	fmt.Fprintf(app.Stdout, "%s %s, commit %s, %s %s/%s\n", program, v, c, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	app.Exit(0)
	return nil
}
