package fleet

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestJudgePoll(t *testing.T) {
	now := time.Now()
	soon, five := now.Add(time.Minute), 5*time.Second
	for name, test := range map[string]struct {
		s               codeState
		expires, polled time.Time
		interval        time.Duration
		want            string
		next            time.Duration
	}{
		"first":                   {codeWaiting, soon, time.Time{}, five, wire.DevicePending, five},
		"in time":                 {codeWaiting, soon, now.Add(-five), five, wire.DevicePending, five},
		"nearly":                  {codeWaiting, soon, now.Add(-five + pollTolerance), five, wire.DevicePending, five},
		"too fast":                {codeWaiting, soon, now.Add(-time.Second), five, wire.DeviceSlowDown, 2 * five},
		"too fast, for long":      {codeWaiting, soon, now, maxInterval, wire.DeviceSlowDown, maxInterval},
		"approved":                {codeApproved, soon, now.Add(-five), five, "", five},
		"approved, too fast":      {codeApproved, soon, now, five, wire.DeviceSlowDown, 2 * five},
		"denied":                  {codeDenied, soon, now, five, wire.DeviceDenied, five},
		"expired":                 {codeWaiting, now, time.Time{}, five, wire.DeviceExpired, five},
		"approved, never fetched": {codeApproved, now, time.Time{}, five, wire.DeviceExpired, five},
	} {
		if got, next := judgePoll(test.s, test.expires, test.polled, test.interval, now); got != test.want || next != test.next {
			t.Errorf("%s: %q, %v", name, got, next)
		}
	}
}

func TestParseCode(t *testing.T) {
	for typed, want := range map[string]string{"WDJB-MJHT": "WDJBMJHT", " wdjb mjht ": "WDJBMJHT", "wdjbmjht": "WDJBMJHT", "WDJB-MJH": "", "ADJB-MJHT": "",
		"WDJB-MJHTX": "", "": "", strings.Repeat("-", 24) + "WDJBMJHT": "WDJBMJHT", strings.Repeat("-", 25) + "WDJBMJHT": "", strings.Repeat("-", 100) + "WDJBMJHT": "", "WDJBMJÄT": ""} {
		if got, ok := ParseCode(typed); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", typed, got, ok)
		}
	}
	if shown := ShowCode("WDJB"); shown != "WDJB" {
		t.Errorf("what is no code is shown as %q", shown)
	}
	for range 100 {
		made := newUserCode()
		if got, ok := ParseCode(ShowCode(made)); got != made || !ok {
			t.Fatalf("%q is no code", made)
		}
	}
}

// FuzzParseCode: whatever is typed is refused, or is a code in its one form.
func FuzzParseCode(f *testing.F) {
	f.Add("WDJB-MJHT")
	f.Add("w d j b m j h t")
	f.Fuzz(func(t *testing.T, typed string) {
		code, ok := ParseCode(typed)
		if again, same := ParseCode(ShowCode(code)); ok && (!same || again != code) {
			t.Fatalf("%q became %q and then %q", typed, code, again)
		}
	})
}

func TestCode(t *testing.T) {
	f, ctx := setUp(t), t.Context()
	ada := Actor{User: "ada", Name: "ada@corp.example"}
	ask := func(host string) (NewCode, Code, Enrolment) {
		t.Helper()
		e := enrolment(t, host)
		n, err := f.AskCode(ctx, f.a, e, "corp", f.now)
		if err != nil {
			t.Fatal(err)
		}
		c, err := f.CodeByUserCode(ctx, f.a, n.UserCode, f.now)
		if err != nil {
			t.Fatal(err)
		}
		return n, c, e
	}
	poll := func(n NewCode, at time.Time) Polled {
		t.Helper()
		p, err := f.PollCode(ctx, n.Secret, at)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}

	n, c, e := ask("dc1")
	if c.Host != "dc1" || c.Address != "192.0.2.7" || c.Directory != "corp" || !c.Waiting ||
		c.Fingerprint != wire.KeysFingerprint(e.CSR.RawSubjectPublicKeyInfo, int(e.EnvelopeSuite), e.EnvelopeKey) {
		t.Errorf("%+v", c)
	}
	_, err := f.CodeByUserCode(ctx, f.b, n.UserCode, f.now)
	want(t, "another tenant looks", err, wire.NotFound)
	_, err = f.ApproveCode(ctx, f.b, c.ID, f.dirB, ada, f.now)
	want(t, "another tenant approves", err, wire.NotFound)
	_, err = f.ApproveCode(ctx, f.a, c.ID, f.dirB, ada, f.now)
	want(t, "another tenant's directory", err, wire.NotFound)
	want(t, "no scope", f.DenyCode(ctx, tenant.Scope{}, c.ID, f.now), fault.CodeOf(tenant.ErrNoScope))

	// Too fast, slower, approved; the certificate is for the keys that the code was asked for with, as often as it is fetched.
	if p := poll(n, f.now); p.Error != wire.DevicePending {
		t.Errorf("%+v", p)
	}
	if p := poll(n, f.now.Add(time.Second)); p.Error != wire.DeviceSlowDown || p.Interval != codeInterval+slowDownBy {
		t.Errorf("%+v", p)
	}
	a, err := f.ApproveCode(ctx, f.a, c.ID, f.dirA, ada, f.now.Add(codeLife-time.Second))
	if err != nil || a.State != Active || a.DirectoryID != f.dirA || !bytes.Equal(a.Key.Bytes(), e.EnvelopeKey) {
		t.Fatal(a, err)
	}
	for i := 1; i < 4; i++ {
		p := poll(n, f.now.Add(codeLife+time.Duration(i)*time.Minute)) // approved at the last moment, and fetched after it
		if p.Error != "" || p.Agent.ID != a.ID || p.Scope != f.a || p.NotAfter.IsZero() || !strings.Contains(p.Chain, "BEGIN CERTIFICATE") {
			t.Errorf("%+v", p)
		}
	}
	_, err = f.ApproveCode(ctx, f.a, c.ID, f.dirA, ada, f.now)
	want(t, "approved twice", err, wire.Conflict)
	want(t, "denied after all", f.DenyCode(ctx, f.a, c.ID, f.now), wire.Conflict)
	if p := poll(n, f.now.Add(time.Hour)); p.Error != wire.DeviceExpired || p.Chain != "" {
		t.Errorf("%+v", p)
	}
	if p := poll(NewCode{Secret: "sallyport-device-made-up"}, f.now); p.Error != wire.DeviceExpired {
		t.Errorf("%+v", p)
	}

	n, c, _ = ask("dc2")
	if err := f.DenyCode(ctx, f.a, c.ID, f.now); err != nil {
		t.Fatal(err)
	}
	if p := poll(n, f.now); p.Error != wire.DeviceDenied {
		t.Errorf("%+v", p)
	}

	n, c, _ = ask("dc3")
	late := f.now.Add(codeLife)
	_, err = f.ApproveCode(ctx, f.a, c.ID, f.dirA, ada, late)
	want(t, "approved too late", err, wire.NotFound)
	_, err = f.CodeByUserCode(ctx, f.a, n.UserCode, late)
	want(t, "looked at too late", err, wire.NotFound)
	if p := poll(n, late); p.Error != wire.DeviceExpired {
		t.Errorf("%+v", p)
	}

	// A registration that would go over the limit stays undecided.
	f.Limit = 1
	_, c, _ = ask("dc4")
	_, err = f.ApproveCode(ctx, f.a, c.ID, f.dirA, ada, f.now)
	want(t, "one agent too many", err, wire.AgentLimit)
	if c, err := f.CodeByUserCode(ctx, f.a, c.UserCode, f.now); err != nil || !c.Waiting {
		t.Error(c, err)
	}
}

// TestSecretsOfCodesAreHashes: the database holds no secret that a reader could poll with.
func TestSecretsOfCodesAreHashes(t *testing.T) {
	f := setUp(t)
	n, err := f.AskCode(t.Context(), f.a, enrolment(t, "dc1"), "", f.now)
	if err != nil {
		t.Fatal(err)
	}
	var stored []byte
	if err := f.db.Reader().QueryRowContext(t.Context(), `SELECT secret_hash FROM device_code WHERE tenant_id = $1`, f.a.String()).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stored, hashSecret(n.Secret)) || len(stored) != 32 {
		t.Errorf("stored is %x", stored)
	}
}

func TestCodesThatWaitAreBounded(t *testing.T) {
	f := setUp(t)
	e := enrolment(t, "dc1")
	for i := range maxCodes {
		e.Network = fmt.Sprintf("192.0.%d.1/32", i/maxCodesFrom)
		if _, err := f.AskCode(t.Context(), f.a, e, "", f.now); err != nil {
			t.Fatal(err)
		}
	}
	_, err := f.AskCode(t.Context(), f.a, e, "", f.now)
	want(t, "one too many", err, wire.TooManyRequests)
	for range maxCodesFrom {
		if _, err := f.AskCode(t.Context(), f.b, e, "", f.now); err != nil {
			t.Fatal(err)
		}
	}
	_, err = f.AskCode(t.Context(), f.b, e, "", f.now)
	want(t, "one network too often", err, wire.TooManyRequests)
	e.Network = "198.51.100.7/32"
	if _, err := f.AskCode(t.Context(), f.b, e, "", f.now); err != nil {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := f.AskCode(t.Context(), f.a, e, "", f.now.Add(codeLife)); err != nil {
		t.Errorf("later: %v", err)
	}
}

func TestCodeUnderSecond(t *testing.T) {
	f, ctx := setUp(t), t.Context()
	if err := tenant.NewStore(f.db).SetApproval(ctx, f.a, tenant.ApprovalSecond, f.now, nil); err != nil {
		t.Fatal(err)
	}
	n, err := f.AskCode(ctx, f.a, enrolment(t, "dc1"), "", f.now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.CodeByUserCode(ctx, f.a, n.UserCode, f.now)
	if err != nil {
		t.Fatal(err)
	}
	ada := Actor{User: "ada"}
	a, err := f.ApproveCode(ctx, f.a, c.ID, f.dirA, ada, f.now)
	if err != nil || a.State != Pending {
		t.Fatal(a.State, err)
	}
	_, err = f.Approve(ctx, f.a, a.ID, "", ada, f.now)
	want(t, "who approved the code", err, wire.SecondNeeded)
}
