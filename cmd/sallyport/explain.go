package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sallyport-auth/sallyport/wire"
)

// explainCommand looks numbers up.
type explainCommand struct {
	Code []string `arg:"" help:"Number of Sallyport's, such as 50126 or 80001; AADSTS may stand before it."`
}

// Help is shown by --help.
func (explainCommand) Help() string {
	return `Examples:
  sallyport explain 80001
  sallyport explain AADSTS50126 90020

Numbers of Windows and of Active Directory (1328, 0xC000006E, 52e) are explained by sallyport-agent explain.`
}

// Run prints what the catalogue knows; one unknown number makes it fail after the others.
func (c explainCommand) Run(t *terminal) error {
	var unknown []string
	for i, asked := range c.Code {
		n, err := strconv.Atoi(strings.TrimPrefix(strings.ToUpper(asked), "AADSTS"))
		entry, ok := wire.Lookup(wire.Code(n))
		if err != nil || !ok {
			unknown = append(unknown, asked)
			continue
		}
		if i > 0 {
			fmt.Fprintln(t.out)
		}
		fmt.Fprintf(t.out, "%d %s\n  %s\n  What to do: %s\n  Whoever met it is told: %s\n", entry.Code, entry.Name, entry.Meaning, entry.Remedy, entry.Public)
	}
	if len(unknown) > 0 {
		return fmt.Errorf("nothing is known here of %s. Numbers of Windows and Active Directory are explained by sallyport-agent explain",
			strings.Join(unknown, ", "))
	}
	return nil
}
