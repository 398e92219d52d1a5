package evaluation_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-auth/sallyport/lab/evaluation"
	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
)

var update = flag.Bool("update", false, "record the transcript anew from a Samba domain controller")

const transcriptFile = "testdata/samba-4.17.json"

// transcript is what a real domain controller said.
type transcript struct {
	Server string   `json:"server"`
	Scenes []played `json:"scenes"`
}

type played struct {
	scene
	Answers []answer `json:"answers"`
}

func play(t *testing.T, p place) []played {
	t.Helper()
	var out []played
	for _, s := range scenes() {
		for _, person := range transcriptPeople() {
			if person.State != people.Locked {
				p.unlock(t, person.SAM)
			}
		}
		c := dial(t, p, s.Transport)
		done := played{scene: s}
		for _, a := range s.Asks {
			answer := c.ask(a)
			done.Answers = append(done.Answers, answer)
			if answer.Closed {
				c = dial(t, p, s.Transport)
			}
		}
		_ = c.conn.Close()
		out = append(out, done)
	}
	return out
}

// sambaPlace starts a real domain controller with these people.
func sambaPlace(t *testing.T, everybody ...people.Person) place {
	dc := sambatest.Start(t, samba.Options{LockoutThreshold: threshold}, everybody...)
	return place{
		ldaps: net.JoinHostPort(dc.Addr, "636"), plain: net.JoinHostPort(dc.Addr, "389"), host: dc.Host, roots: dc.CAPool,
		unlock: func(t *testing.T, sam string) {
			if err := dc.Unlock(t.Context(), sam); err != nil {
				t.Fatal(err)
			}
		},
		replace: replacer(func(sam, attribute string) []byte {
			value, err := dc.Attribute(t.Context(), sam, attribute)
			if err != nil {
				t.Fatal(err)
			}
			return []byte(value)
		}),
	}
}

// replacer fills the placeholders for alice.
func replacer(attribute func(sam, name string) []byte) func(string) string {
	guid, sid := attribute("alice", "objectGUID"), attribute("alice", "objectSid")
	return strings.NewReplacer("{guid:alice}", guidText(guid), "{sid:alice}", sidText(sid), "{octets:alice}", escapedOctets(guid)).Replace
}

func readTranscript(t *testing.T) transcript {
	t.Helper()
	b, err := os.ReadFile(transcriptFile)
	if err != nil {
		t.Fatal(err)
	}
	var tr transcript
	if err := json.Unmarshal(b, &tr); err != nil {
		t.Fatal(err)
	}
	return tr
}

// clean passes strings through JSON, which replaces bytes that are not UTF-8, so that both sides of a comparison went there.
func clean(t *testing.T, scenes []played) []played {
	t.Helper()
	b, err := json.Marshal(scenes)
	if err != nil {
		t.Fatal(err)
	}
	var out []played
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestTranscriptIsWhatSambaSays asks a real domain controller everything again. With -update it records.
func TestTranscriptIsWhatSambaSays(t *testing.T) {
	p := sambaPlace(t, transcriptPeople()...)
	got := clean(t, play(t, p))
	out, err := exec.Command("/usr/sbin/samba", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	server := "Samba " + strings.TrimSpace(strings.TrimPrefix(string(out), "Version "))
	if *update {
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", " ")
		if err := encoder.Encode(transcript{Server: server, Scenes: got}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(transcriptFile, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := readTranscript(t)
	if server[:strings.LastIndex(server, ".")] != want.Server[:strings.LastIndex(want.Server, ".")] {
		t.Logf("the transcript is of %s, this is %s", want.Server, server)
	}
	if diff := cmp.Diff(want.Scenes, got, cmp.AllowUnexported(played{})); diff != "" {
		t.Errorf("the domain controller says something else than the transcript (-transcript +now):\n%s", diff)
	}
}

// differences are the asks whose answers differ from Samba's on purpose, and why. Each is checked to be a difference.
var differences = map[string]string{
	"attributes 9":         "typesOnly is honoured, as RFC 4511 §4.5.1.6 and Windows have it",
	"what is not served 1": "a critical control is refused in a search result, as RFC 4511 §4.1.11 has it",
	"what is not served 2": "a critical control is refused in a bind response, as RFC 4511 §4.1.11 has it",
}

// TestReplay asks the evaluation directory everything and compares with what Samba said.
func TestReplay(t *testing.T) {
	want := readTranscript(t)
	_, p := startPlace(t, evaluation.Config{People: transcriptPeople(), LockoutThreshold: threshold})
	p.replace = replacer(func(sam, attribute string) []byte { return read(t, p, transcriptPeople()[0], sam, attribute) })
	got := clean(t, play(t, p))
	if len(got) != len(want.Scenes) {
		t.Fatalf("%d scenes were recorded and %d are written: record anew with -update", len(want.Scenes), len(got))
	}
	met := map[string]bool{}
	for i, w := range want.Scenes {
		if diff := cmp.Diff(w.scene, got[i].scene); diff != "" {
			t.Fatalf("the recorded scene is not the written one, record anew with -update:\n%s", diff)
		}
		for j, a := range w.Asks {
			name := w.Name + " " + strconv.Itoa(j)
			diff := cmp.Diff(w.Answers[j], got[i].Answers[j])
			if why, expected := differences[name]; expected {
				if met[name] = true; diff == "" {
					t.Errorf("%s does not differ any more: %s", name, why)
				}
				continue
			}
			if diff != "" {
				asked, _ := json.Marshal(a)
				t.Errorf("%s: %s\nSamba (-), evaluation directory (+):\n%s", name, asked, diff)
			}
		}
	}
	for name, why := range differences {
		if !met[name] {
			t.Errorf("the difference %s (%s) was not met", name, why)
		}
	}
}
