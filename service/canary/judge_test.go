package canary

import (
	"fmt"
	"regexp"
	"testing"
	"time"
	"unicode"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		right  bool
		reason wire.Reason
		err    error
		want   Result
		code   wire.Code
	}{
		"a made-up password is wrong":         {false, wire.BadPassword, nil, Fine, 0},
		"of nobody":                           {false, wire.NoSuchUser, nil, Fine, 0},
		"of an account that is locked":        {false, wire.AccountLocked, nil, Fine, 0},
		"a made-up password is right":         {false, wire.Accepted, nil, Lied, wire.CanaryAccepted},
		"the made-up one has expired":         {false, wire.PasswordExpired, nil, Failed, wire.DirectoryUnusable},
		"the right one is right":              {true, wire.Accepted, nil, Fine, 0},
		"the right one is wrong":              {true, wire.BadPassword, nil, Refused, wire.CanaryRefused},
		"the right one has expired":           {true, wire.PasswordExpired, nil, Refused, wire.CanaryRefused},
		"its account is locked":               {true, wire.AccountLocked, nil, Refused, wire.CanaryRefused},
		"no domain controller":                {true, "", fault.New(wire.DirectoryUnreachable, ""), Failed, wire.DirectoryUnreachable},
		"forged":                              {false, "", fault.New(wire.AnswerForged, ""), Failed, wire.AnswerForged},
		"refused by the agent, which is busy": {false, "", fault.New(wire.AgentsBusy, ""), Skipped, wire.AgentsBusy},
		"spared, with a made-up password":     {false, "", fmt.Errorf("%w: %w", password.ErrNotAsked, fault.New(wire.LockoutSpared, "")), Skipped, wire.LockoutSpared},
		"spared, with the right one":          {true, "", fmt.Errorf("%w: %w", password.ErrNotAsked, fault.New(wire.LockoutSpared, "")), Failed, wire.LockoutSpared},
		"protected":                           {false, "", fault.New(wire.AccountProtected, ""), Failed, wire.AccountProtected},
		"gone":                                {false, "", fmt.Errorf("%w: %w", password.ErrNotAsked, fault.New(wire.NoAgent, "")), Skipped, wire.NoAgent},
		"the broker is away, which is not the agent's fault": {false, "", fmt.Errorf("%w: %w", password.ErrNotAsked, fault.New(wire.TransientNetwork, "")), Skipped, wire.TransientNetwork},
	} {
		if got, code := Judge(c.right, wire.Verdict{Reason: c.reason}, c.err); got != c.want || code != c.code {
			t.Errorf("%s: %s %v, want %s %v", name, got, code, c.want, c.code)
		}
	}
}

// What is made up looks like what people type, and is never the same twice.
func TestInvented(t *testing.T) {
	var d dice
	seen := map[string]bool{}
	lengths, kinds := map[int]bool{}, map[string]bool{}
	trace := regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`)
	for range 2000 {
		p := string(d.invent())
		if seen[p] || !password.Usable(wire.NewSecret([]byte(p))) || len(p) < 14 || len(p) > 40 {
			t.Fatalf("%q", p)
		}
		seen[p], lengths[len(p)] = true, true
		for _, r := range p {
			if r > unicode.MaxASCII || !unicode.IsPrint(r) {
				t.Fatalf("%q", p)
			}
			kinds[fmt.Sprint(unicode.IsUpper(r), unicode.IsLower(r), unicode.IsDigit(r))] = true
		}
		if tr := d.trace(); !trace.MatchString(tr) {
			t.Fatal(tr)
		}
	}
	if len(lengths) < 15 || len(kinds) != 4 {
		t.Errorf("%d lengths, %d kinds of characters", len(lengths), len(kinds))
	}
}

func TestPause(t *testing.T) {
	for _, c := range []struct {
		u    float64
		want time.Duration
	}{{0, 30 * time.Second}, {.5, time.Minute}, {1, 90 * time.Second}} {
		if got := pause(time.Minute, c.u); got != c.want {
			t.Errorf("%v: %v", c.u, got)
		}
	}
}
