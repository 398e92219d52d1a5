package envelope_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/wire"
)

// other is interop/envelope.mjs at work: the envelope over another HPKE implementation (@hpke/core with @hpke/hybridkem-x-wing, mlkem, and
// Node's own AES), which shares no line with Go's.
type other struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

// said is a command to it or its answer; only the members that the command knows are set.
type said struct {
	Do             string   `json:"do,omitempty"`
	ID             int      `json:"id"`
	Suite          uint16   `json:"suite,omitempty"`
	PrivateKey     hexBytes `json:"private_key,omitempty"`
	PublicKey      hexBytes `json:"public_key,omitempty"`
	Tenant         string   `json:"tenant,omitempty"`
	Directory      string   `json:"directory,omitempty"`
	Agent          string   `json:"agent,omitempty"`
	Request        string   `json:"request,omitempty"`
	ExpiresMS      int64    `json:"expires_ms,omitempty"`
	NowMS          int64    `json:"now_ms,omitempty"`
	Name           hexBytes `json:"name"`
	Password       hexBytes `json:"password"`
	Attribute      hexBytes `json:"attribute"`
	WantAttributes bool     `json:"want_attributes"`
	Sealed         hexBytes `json:"sealed,omitempty"`
	GoNonce        hexBytes `json:"go_nonce,omitempty"`
	GoToken        hexBytes `json:"go_token,omitempty"`
	HoldToken      hexBytes `json:"hold_token,omitempty"`
	Account        hexBytes `json:"account,omitempty"`
	Answer         string   `json:"answer,omitempty"`
	Error          string   `json:"error,omitempty"`
}

// newOther installs and starts it. Nothing is written into the checkout.
func newOther(t *testing.T) *other {
	t.Helper()
	missing := func(why string) {
		t.Helper()
		if os.Getenv("SALLYPORT_CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		missing("node is not installed: the envelope is not checked against a second implementation")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		missing("npm is not installed: the envelope is not checked against a second implementation")
	}
	dir := t.TempDir()
	for _, name := range []string{"envelope.mjs", "package.json", "package-lock.json", ".npmrc"} {
		b, err := os.ReadFile(filepath.Join("interop", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund")
	install.Dir = dir
	if said, err := install.CombinedOutput(); err != nil {
		missing("the packages of envelope/interop could not be installed: " + err.Error() + "\n" + string(said))
	}
	program := exec.Command(node, "envelope.mjs") // it ends with its input
	program.Dir = dir
	stderr := &bytes.Buffer{}
	program.Stderr = stderr
	in, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := program.Wait(); err != nil || stderr.Len() > 0 {
			t.Errorf("%v: %s", err, stderr)
		}
	})
	return &other{t: t, in: in, out: bufio.NewReader(out)}
}

func (o *other) do(c said) said {
	o.t.Helper()
	line, err := json.Marshal(c)
	if err != nil {
		o.t.Fatal(err)
	}
	if _, err := o.in.Write(append(line, '\n')); err != nil {
		o.t.Fatal(err)
	}
	if line, err = o.out.ReadBytes('\n'); err != nil {
		o.t.Fatalf("%s: %v", c.Do, err)
	}
	var answer said
	if err := json.Unmarshal(line, &answer); err != nil {
		o.t.Fatal(err)
	}
	return answer
}

// must is do where nothing may be refused.
func (o *other) must(c said) said {
	o.t.Helper()
	answer := o.do(c)
	if answer.Error != "" {
		o.t.Fatalf("%s: refused: %s", c.Do, answer.Error)
	}
	return answer
}

// TestSecondImplementation holds package and format page to one another through an implementation that was written from the page
// and runs on other people's HPKE: it reads the stored vectors, and lives through whole checks as either side.
func TestSecondImplementation(t *testing.T) {
	o := newOther(t)
	text, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	refusals := 0
	for _, v := range vectors {
		to := said{Do: "open", Suite: v.Suite, PrivateKey: v.PrivateKey, Tenant: v.Tenant, Directory: v.Directory, Agent: v.Agent, Request: v.Request,
			Sealed: v.Sealed, NowMS: v.ExpiresMS - 1000}
		opened := o.must(to)
		if !bytes.Equal(opened.Name, v.Name) || !bytes.Equal(opened.Password, v.Password) || opened.WantAttributes != v.WantAttributes {
			t.Errorf("%s: the content differs", v.Comment)
		}
		if goes := o.must(said{Do: "go", ID: opened.ID, GoNonce: v.GoNonce}); !bytes.Equal(opened.PublicKey, v.PublicKey) || !bytes.Equal(goes.GoToken, v.GoToken) ||
			!bytes.Equal(goes.HoldToken, v.HoldToken) {
			t.Errorf("%s: public key, go or hold token differ", v.Comment)
		}
		if whose := o.must(said{Do: "open fence", ID: opened.ID, GoNonce: v.FenceNonce}).Account; !bytes.Equal(whose, v.Account) {
			t.Errorf("%s: the fence names %x", v.Comment, whose)
		}
		if a := o.must(said{Do: "open answer", ID: opened.ID, Sealed: v.SealedAnswer}); a.Answer != v.Answer {
			t.Errorf("%s: the answer is %q", v.Comment, a.Answer)
		}
		for _, r := range v.Refused {
			refusals++
			again := to
			again.Tenant, again.Sealed, again.NowMS = r.Tenant, r.Sealed, r.NowMS
			if got := o.do(again); got.Error != r.Error {
				t.Errorf("%s: %q, want %q", r.Comment, got.Error, r.Error)
			}
		}
	}
	if refusals < 10 {
		t.Errorf("%d refusals in the vectors", refusals)
	}
	for _, c := range []struct{ name, password, attribute string }{
		{"sam@corp.example", "correct horse battery", ""},
		{"sam@mail.example", "correct horse battery", "mail"},
		{"", "", ""},
		{"J\u00fcrgen\xff", "\x00\x01\xfe\xff", "x"},
		{strings.Repeat("n", envelope.MaxName), strings.Repeat("p", envelope.MaxPassword), strings.Repeat("a", envelope.MaxAttribute)},
	} {
		for _, k := range []envelope.PrivateKey{key(t), keyP256(t)} {
			o.seals(t, k, c.name, c.password, c.attribute)
			o.opens(t, k, c.name, c.password, c.attribute)
		}
	}
}

// goes holds the tokens of both sides to one another.
func (o *other) goes(t *testing.T, id int, ours interface {
	GoToken([]byte) []byte
	HoldToken([]byte) []byte
}) {
	t.Helper()
	for _, size := range []int{envelope.MinNonce, envelope.MinNonce + 1, envelope.MaxNonce} {
		nonce := make([]byte, size)
		_, _ = rand.Read(nonce)
		if theirs := o.must(said{Do: "go", ID: id, GoNonce: nonce}); !bytes.Equal(theirs.GoToken, ours.GoToken(nonce)) || !bytes.Equal(theirs.HoldToken, ours.HoldToken(nonce)) {
			t.Error("the tokens differ")
		}
	}
	for _, size := range []int{1, envelope.MinNonce - 1, envelope.MaxNonce + 1} {
		if theirs := o.do(said{Do: "go", ID: id, GoNonce: make([]byte, size)}); theirs.Error != "nonce" || ours.GoToken(make([]byte, size)) != nil ||
			ours.HoldToken(make([]byte, size)) != nil {
			t.Errorf("a nonce of %d bytes: %q here, %q there", size, ours.GoToken(make([]byte, size)), theirs.Error)
		}
	}
}

// seals has the other side seal, and this package be the agent.
func (o *other) seals(t *testing.T, k envelope.PrivateKey, name, password, attribute string) {
	t.Helper()
	b := binding()
	theirs := o.must(said{Do: "seal", Suite: uint16(k.Public().Suite()), PublicKey: k.Public().Bytes(), Tenant: b.Tenant, Directory: b.Directory, Agent: b.Agent, Request: b.Request,
		ExpiresMS: b.Expires.UnixMilli(), Name: hexBytes(name), Password: hexBytes(password), Attribute: hexBytes(attribute), WantAttributes: true})
	c, r, err := envelope.Open(k, b, theirs.Sealed, now)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != name || string(c.Password.Reveal()) != password || !c.WantAttributes || c.NameAttribute != attribute {
		t.Error("the content differs")
	}
	o.goes(t, theirs.ID, r)
	if named := o.must(said{Do: "open fence", ID: theirs.ID, GoNonce: r.Nonce(whose)}).Account; !bytes.Equal(named, whose[:]) {
		t.Errorf("the fence names %x", named)
	}
	answer, err := r.SealAnswer(accepted)
	if err != nil {
		t.Fatal(err)
	}
	var read wire.Answer
	if err := json.Unmarshal([]byte(o.must(said{Do: "open answer", ID: theirs.ID, Sealed: answer}).Answer), &read); err != nil {
		t.Fatal(err)
	}
	if read.Verdict == nil || read.Verdict.Reason != wire.Accepted || read.DC != accepted.DC {
		t.Errorf("the answer reads %+v", read)
	}
	answer[len(answer)/2] ^= 1
	if got := o.do(said{Do: "open answer", ID: theirs.ID, Sealed: answer}); got.Error != "answer" {
		t.Errorf("a changed answer: %q", got.Error)
	}
	b.Request += "x"
	if _, _, err := envelope.Open(k, b, theirs.Sealed, now); err == nil {
		t.Error("opened for another request")
	}
}

// opens has this package seal, and the other side be the agent.
func (o *other) opens(t *testing.T, k envelope.PrivateKey, name, password, attribute string) {
	t.Helper()
	raw, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if binary.BigEndian.Uint16(raw) != uint16(k.Public().Suite()) {
		t.Fatalf("suite %s", hex.EncodeToString(raw[:2]))
	}
	b := binding()
	asked := check(name, password)
	asked.NameAttribute = attribute
	sealed, s := seal(t, k, b, asked)
	theirs := o.must(said{Do: "open", Suite: uint16(k.Public().Suite()), PrivateKey: raw[2:], Tenant: b.Tenant, Directory: b.Directory, Agent: b.Agent, Request: b.Request, Sealed: sealed,
		NowMS: now.UnixMilli()})
	if string(theirs.Name) != name || string(theirs.Password) != password || string(theirs.Attribute) != attribute {
		t.Error("the content differs")
	}
	o.goes(t, theirs.ID, s)
	if named := s.Whose(o.must(said{Do: "seal fence", ID: theirs.ID, Account: whose[:]}).GoNonce); named != whose {
		t.Errorf("the fence names %x", named)
	}
	answer := o.must(said{Do: "seal answer", ID: theirs.ID, Answer: `{"verdict":{"reason":"` + string(wire.BadPassword) + `","win32":1326}}`})
	a, err := s.OpenAnswer(answer.Sealed)
	if err != nil {
		t.Fatal(err)
	}
	if a.Verdict == nil || a.Verdict.Reason != wire.BadPassword || a.Verdict.Win32 != 1326 {
		t.Errorf("the answer reads %+v", a)
	}
}
