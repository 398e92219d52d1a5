package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

type testCommand struct {
	directoryFlags
	guardFlags
	NameAttribute string `help:"Look the name up by this attribute too, such as mail, as the agent does for a domain that allows it (sallyport domain change --sign-in-attribute). Needs the reader." placeholder:"NAME"`

	Name         string   `arg:"" optional:"" help:"Name to check, as the person types it. It is asked for when it is not given."`
	Rest         []string `arg:"" optional:"" hidden:""`
	PasswordFile string   `placeholder:"FILE" help:"Read the password from this file, or with - from standard input, in place of asking for it."`
}

// Help is printed below the flags.
func (testCommand) Help() string {
	return `Checks a password as the agent does, beside the agent and without the service: what it says is the directory's word alone. The password is asked for
at the terminal, without echo, and cannot be given on the command line. It is sent once: a wrong one counts at the directory, once.

Exit codes: 0 the password is right; 6 the directory judged otherwise; 1 nobody judged.

Examples:
  sallyport-agent test-signin --domain corp.example ada@corp.example
  sallyport-agent test-signin --dc ldaps://dc1.corp.example ada@corp.example
  sallyport-agent test-signin --config /etc/sallyport-agent.yaml --name-attribute mail ada.lovelace@mail.example
  sallyport-agent test-signin --config /etc/sallyport-agent.yaml`
}

// errNotRight ends `test-signin` when the directory did not say yes.
var errNotRight = errors.New("not right")

// Run is called by kong.
func (c *testCommand) Run(ctx context.Context, t *terminal, s settings) error {
	if len(c.Rest) > 0 {
		// Not repeated: it may be the password.
		return &usageError{errors.New("one name is wanted and nothing after it: a password on the command line would be seen by others on this host and stay in the shell's history. " +
			"It is asked for; programs give it with --password-file. If what you typed is in use, change it")}
	}
	roots, err := readRoots(c.DCCAFile)
	if err != nil {
		return &usageError{err}
	}
	choice, byKerberos, byWindows, err := c.validator()
	if err != nil {
		return &usageError{err}
	}
	if err := c.usable(byWindows != nil); err != nil {
		return &usageError{err}
	}
	looks, err := c.guard(s.within)
	if err != nil {
		return err
	}
	in := bufio.NewReader(t.in)
	if c.Name == "" {
		if c.Name, err = ask(in, t.err, "Name: "); err != nil {
			return err
		}
	}
	password, err := passwordFrom(c.PasswordFile, in, t)
	if err != nil {
		return err
	}
	defer password.Wipe()
	byLDAP := c.ldap(roots)
	byLDAP.Connections, byLDAP.DialTimeout, byLDAP.Guard = 1, testDial, looks
	v, err := agent.NewValidator(byLDAP, byKerberos, byWindows)
	if err != nil {
		return &usageError{err}
	}
	if finder, ok := v.(interface{ Locate(context.Context) error }); ok {
		// Without DNS those of --dc are asked.
		if err := finder.Locate(ctx); err != nil && len(c.DC) == 0 {
			return fmt.Errorf("domain controllers of %s: %w", c.Domain, err)
		}
	}
	fmt.Fprintf(t.err, "asking by %s: %s\n", choice.Kind, choice.Why)
	began := time.Now()
	check := directory.Check{Name: c.Name, Password: password, WantAttributes: true, Fence: func(context.Context) error { return nil }}
	result, err := c.check(ctx, v, check, t.err)
	var trouble *directory.Error
	if errors.As(err, &trouble) {
		if entry, ok := wire.Lookup(trouble.Code); ok {
			fmt.Fprintf(t.err, "nobody judged the password: %d %s. %s\n  what to do: %s\n", entry.Code, entry.Name, entry.Meaning, entry.Remedy)
		}
		if trouble.Fenced {
			fmt.Fprintln(t.err, "  the password had been sent: the attempt may have counted")
		}
	}
	if err != nil {
		return err
	}
	return printVerdict(t.out, result, time.Since(began))
}

// check asks as the agent does: who has the name, where it may be another attribute's, and then for the password.
func (c *testCommand) check(ctx context.Context, v directory.Validator, check directory.Check, out io.Writer) (directory.Result, error) {
	if c.NameAttribute != "" {
		finder, ok := v.(directory.Finder)
		if !ok {
			return directory.Result{}, &usageError{errors.New("--name-attribute: this validator looks nobody up")}
		}
		account, e := finder.Find(ctx, c.NameAttribute, c.Name)
		switch {
		case e != nil:
			return directory.Result{}, e
		case account != nil:
			fmt.Fprintf(out, "the name is of %s (%s)\n", account.Name(), account.DN)
		default:
			fmt.Fprintf(out, "nobody has the name as %s or as user principal name; the directory is asked about it as it is\n", c.NameAttribute)
		}
		check.Account = account
	}
	return v.Validate(ctx, check)
}

// testDial is how long one domain controller may take before the next is asked: a person waits, and wants to know.
const testDial = 5 * time.Second

// passwordFrom reads a password from a file, from standard input ("-"), or from the terminal when no file is named.
func passwordFrom(file string, in *bufio.Reader, t *terminal) (wire.Secret, error) {
	if file != "" {
		from := io.Reader(in)
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				return wire.Secret{}, &usageError{err}
			}
			defer f.Close()
			from = f
		}
		raw, err := io.ReadAll(io.LimitReader(from, directory.MaxPassword+2))
		if err != nil {
			return wire.Secret{}, err
		}
		return wire.NewSecret([]byte(strings.TrimRight(string(raw), "\r\n"))), nil
	}
	f, ok := t.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return wire.Secret{}, &usageError{errors.New("this is no terminal: give the password with --password-file FILE, or - for standard input")}
	}
	fmt.Fprint(t.err, "Password (not shown): ")
	raw, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(t.err)
	return wire.NewSecret(raw), err
}

// ask asks for a line.
func ask(in *bufio.Reader, out io.Writer, question string) (string, error) {
	fmt.Fprint(out, question)
	line, err := in.ReadString('\n')
	if err != nil && (line == "" || !errors.Is(err, io.EOF)) {
		return "", &usageError{errors.New("no name was given")}
	}
	return strings.TrimSpace(line), nil
}

// printVerdict says what the directory said, in its numbers and in words.
func printVerdict(w io.Writer, r directory.Result, took time.Duration) error {
	v := r.Verdict
	if v.Reason.Right() {
		fmt.Fprintf(w, "right: %s accepts name and password (%s); its count of wrong passwords begins anew\n", r.DC, took.Round(time.Millisecond))
		if a := v.Attributes; a != nil {
			groups := "1 group"
			if n := len(a.Groups); n != 1 {
				groups = fmt.Sprintf("%d groups", n)
			}
			fmt.Fprintf(w, "  it is %s, objectGUID %s, in %s\n", a.UPN, a.Anchor, groups)
		} else if v.Diagnostic != "" {
			fmt.Fprintf(w, "  %s: the service would let nobody in\n", v.Diagnostic)
		}
		return nil
	}
	counted := "it was not counted as a wrong password"
	switch {
	case v.Reason == wire.NoSuchUser:
		counted = "there is no account at which the directory could count it"
	case v.Reason.Wrong():
		counted = "it counts as one wrong password at the directory"
	}
	fmt.Fprintf(w, "not right: %s says %s (%s); %s\n", r.DC, v.Reason, took.Round(time.Millisecond), counted)
	if v.Diagnostic != "" {
		fmt.Fprintf(w, "  its words: %s\n", v.Diagnostic)
	}
	for _, x := range directory.Explain(fmt.Sprint(v.Win32)) {
		fmt.Fprintf(w, "  %s\n", x)
		if x.Remedy != "" {
			fmt.Fprintf(w, "  what to do: %s\n", x.Remedy)
		}
	}
	return errNotRight
}
