package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/sallyport-auth/sallyport/agent/transcript"
)

type recordCommand struct {
	directoryFlags
	Accounts string `required:"" placeholder:"FILE" help:"JSON file with accounts of a TEST domain, their states and passwords; - is standard input."`
	Output   string `required:"" placeholder:"FILE" help:"Where the transcript goes. A file that is there is not overwritten."`
}

// Help is printed below the flags.
func (recordCommand) Help() string {
	return `Asks the first domain controller of --dc about accounts that you have made for it in a TEST domain, and writes down its answers, so that its
kind of domain controller is understood for certain. Each name is bound once with the right password and once with a wrong one, which counts: accounts
may lock. The first account in the state normal is also used to try AD's fast bind, with one wrong password more. Names, passwords and the domain are not in the transcript; read it before you send it.

The accounts' file:
  [{"state": "normal",   "names": {"upn": "t1@corp.example", "down-level": "CORP\\t1"}, "password": "…"},
   {"state": "disabled", "also": "locked", "names": {"upn": "t2@corp.example"}, "password": "…"}]
States: ` + strings.Join(slices.Sorted(maps.Keys(transcript.States)), ", ") + `; "also" is for an account in two at once.

Examples:
  sallyport-agent record-transcripts --dc ldaps://dc1.test.example --dc-ca-file ca.pem --accounts accounts.json --output windows-2022.json`
}

// Run is called by kong.
func (r *recordCommand) Run(ctx context.Context, t *terminal) error {
	if len(r.DC) == 0 {
		return &usageError{errors.New("one domain controller is wanted: add --dc ldaps://dc1.test.example")}
	}
	roots, err := readRoots(r.DCCAFile)
	if err != nil {
		return &usageError{err}
	}
	accounts, err := r.read(t.in)
	if err != nil {
		return &usageError{err}
	}
	out, err := os.OpenFile(r.Output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return &usageError{fmt.Errorf("--output: %w", err)}
	}
	said, err := transcript.Record(ctx, r.DC[0], roots, accounts, func(done, of int) { fmt.Fprintf(t.err, "\r%d of %d accounts", done, of) })
	fmt.Fprintln(t.err)
	if err == nil {
		var text []byte
		if text, err = json.MarshalIndent(said, "", " "); err == nil {
			_, err = out.Write(append(text, '\n'))
		}
	}
	if err = errors.Join(err, out.Close()); err != nil {
		_ = os.Remove(r.Output) // half of it is worth nothing
		return err
	}
	for _, b := range said.Binds {
		password := "wrong"
		if b.Right {
			password = "right"
		}
		outcome := string(b.Reason)
		if outcome == "" {
			outcome = "trouble " + b.Code.String()
		}
		fmt.Fprintf(t.out, "%-17s %-13s %s password: %s\n", b.State, b.Form, password, outcome)
	}
	switch f := said.FastBind; {
	case f == nil:
	case f.Right == nil:
		fmt.Fprintf(t.out, "fast bind: not known there (result %d)\n", f.Mode.Result)
	default:
		fmt.Fprintf(t.out, "fast bind: right password %d us, plain bind %d us; results %d and, for a wrong password, %d\n", f.FastUS, f.PlainUS, f.Right.Result, f.Wrong.Result)
	}
	_, err = fmt.Fprintf(t.out, "%d answers are in %s. Read it, then send it.\n", len(said.Binds), r.Output)
	return err
}

func (r *recordCommand) read(stdin io.Reader) ([]transcript.Account, error) {
	in := stdin
	if r.Accounts != "-" {
		f, err := os.Open(r.Accounts)
		if err != nil {
			return nil, fmt.Errorf("--accounts: %w", err)
		}
		defer f.Close()
		in = f
	}
	return transcript.ReadAccounts(in)
}
