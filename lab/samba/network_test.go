package samba_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/samba/sambatest"
)

func TestTwoControllers(t *testing.T) {
	everybody := people.Everybody("corp.example.com")[:2]
	alice, bob := everybody[0], everybody[1]
	first, second := sambatest.TwoControllers(t, samba.Options{}, everybody...)
	if first.Addr == second.Addr || first.Host != "dc1.corp.example.com" || second.Host != "dc2.corp.example.com" || first.BaseDN != second.BaseDN {
		t.Fatalf("%s %s, %s %s", first.Host, first.Addr, second.Host, second.Addr)
	}

	t.Run("each counts for itself", func(t *testing.T) {
		for range 2 {
			if err := bind(t, second, bob.UPN, people.WrongPassword); err == nil {
				t.Fatal("a wrong password was accepted")
			}
		}
		for dc, want := range map[*samba.DC]int{first: 0, second: 2} {
			if n, err := dc.BadPwdCount(t.Context(), bob.SAM); err != nil || n != want {
				t.Errorf("%s counts %d, %v; want %d", dc.Host, n, err, want)
			}
			if all, err := dc.BadPwdCounts(t.Context()); err != nil || all[bob.SAM] != want {
				t.Errorf("%s counts %v, %v; want %d", dc.Host, all, err, want)
			}
			if asked, err := dc.Attempts(); err != nil || asked[bob.UPN] != want || asked["administrator@corp.example.com"] == 0 {
				t.Errorf("%s was asked %v, %v; want %d", dc.Host, asked, err, want)
			}
		}
	})

	t.Run("changes arrive both ways", func(t *testing.T) {
		for way, password := range map[[2]*samba.DC]string{{first, second}: "Another-Horse-8", {second, first}: "Another-Horse-9"} {
			if err := way[0].SetPassword(t.Context(), alice.SAM, []byte(password)); err != nil {
				t.Fatal(err)
			}
			if err := way[0].AwaitReplicated(t.Context(), way[1]); err != nil {
				t.Fatal(err)
			}
			if err := bind(t, way[1], alice.UPN, password); err != nil {
				t.Errorf("from %s to %s: %v", way[0].Host, way[1].Host, err)
			}
		}
		if err := first.SetPassword(t.Context(), alice.SAM, []byte(people.RightPassword)); err != nil {
			t.Fatal(err)
		}
		if err := first.AwaitReplicated(t.Context(), second); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("DNS names both", func(t *testing.T) {
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, first.Network().Resolver())
		}}
		_, records, err := resolver.LookupSRV(t.Context(), "ldap", "tcp", "dc._msdcs.corp.example.com")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range records {
			addresses, err := resolver.LookupHost(t.Context(), r.Target)
			if err != nil || r.Port != 389 || len(addresses) != 1 {
				t.Fatalf("%+v: %v, %v", r, addresses, err)
			}
			got = append(got, r.Target+" "+addresses[0])
		}
		slices.Sort(got)
		if want := []string{first.Host + ". " + first.Addr, second.Host + ". " + second.Addr}; !slices.Equal(got, want) {
			t.Errorf("the domain controllers are %q, want %q", got, want)
		}
		if found, err := resolver.LookupHost(t.Context(), "dc1.elsewhere.test"); err == nil {
			t.Errorf("a foreign name is %v", found)
		}
	})

	t.Run("out of reach", func(t *testing.T) {
		s, err := second.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := second.Vanish(t.Context()); err != nil {
			t.Fatal(err)
		}
		answer := make(chan error, 1)
		go func() { answer <- s.Bind(alice.UPN, people.RightPassword) }()
		short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		var silence net.Error
		if _, err := second.Connect(short); !errors.As(err, &silence) || !silence.Timeout() {
			t.Errorf("a new connection: %v; want silence", err)
		}
		select {
		case err := <-answer:
			t.Errorf("the old connection did not fall silent: %v", err)
		default:
		}
		if err := bind(t, first, alice.UPN, people.RightPassword); err != nil {
			t.Errorf("the other domain controller: %v", err)
		}
		if err := second.Reappear(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-answer; err != nil {
			t.Errorf("after it came back: %v", err)
		}
	})

	t.Run("mute", func(t *testing.T) {
		s, err := second.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		before, err := second.Attempts()
		if err != nil {
			t.Fatal(err)
		}
		if err := second.Mute(t.Context()); err != nil {
			t.Fatal(err)
		}
		answer := make(chan error, 1)
		go func() { answer <- s.Bind(bob.UPN, people.WrongPassword) }()
		deadline, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for judged := false; !judged; {
			select {
			case <-deadline.Done():
				t.Fatal("nothing was judged")
			case err := <-answer:
				t.Fatalf("an answer came: %v", err)
			case <-tick.C:
			}
			now, err := second.Attempts()
			judged = err == nil && now[bob.UPN] == before[bob.UPN]+1
		}
		if err := second.Reappear(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-answer; err == nil || !strings.Contains(err.Error(), "52e") {
			t.Errorf("after it came back: %v", err)
		}
	})

	t.Run("killed", func(t *testing.T) {
		second.Kill()
		if _, err := second.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("a killed domain controller: %v", err)
		}
		if err := first.SetPassword(t.Context(), alice.SAM, []byte("Another-Horse-10")); err != nil {
			t.Fatal(err)
		}
		if err := second.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := first.AwaitReplicated(t.Context(), second); err != nil {
			t.Fatal(err)
		}
		if err := bind(t, second, alice.UPN, "Another-Horse-10"); err != nil {
			t.Errorf("what was changed meanwhile: %v", err)
		}
	})
}

// TestNetworkEndsWithItsProcess: nothing of a network is left when the test that made it is killed.
func TestNetworkEndsWithItsProcess(t *testing.T) {
	if os.Getenv("SALLYPORT_LEAVE_A_NETWORK") != "" {
		n, err := samba.NewNetwork(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		dc, err := samba.Start(t.Context(), samba.Options{Network: n})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString("\n" + dc.Addr + "\n")
		select {} // until killed
	}
	sambatest.RequireNetwork(t, false)
	cmd := exec.Command(os.Args[0], "-test.run=^TestNetworkEndsWithItsProcess$")
	cmd.Env = append(os.Environ(), "SALLYPORT_LEAVE_A_NETWORK=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	address := ""
	for address == "" && lines.Scan() {
		if a := strings.TrimSpace(lines.Text()); net.ParseIP(a) != nil {
			address = a
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if address == "" {
		t.Fatal("no domain controller was started")
	}
	network := address[:strings.LastIndex(address, ".")+1]
	deadline, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for left := true; left; {
		select {
		case <-deadline.Done():
			t.Fatalf("an address in %s0/24 is still here", network)
		case <-tick.C:
		}
		all, err := net.InterfaceAddrs()
		if err != nil {
			t.Fatal(err)
		}
		left = slices.ContainsFunc(all, func(a net.Addr) bool { return strings.HasPrefix(a.String(), network) })
	}
}

func TestNetworkRefusals(t *testing.T) {
	sambatest.Require(t)
	for name, o := range map[string]samba.Options{
		"joining without a network":     {Join: &samba.DC{}},
		"trusts without a network":      {Trusts: true},
		"an address in a network":       {Network: &samba.Network{}, Address: "127.1.2.3"},
		"a directory in a network":      {Network: &samba.Network{}, Dir: "/tmp/a"},
		"one of another network":        {Network: &samba.Network{}, Join: &samba.DC{}},
		"a single process in a network": {Network: &samba.Network{}, Model: samba.Single},
	} {
		if dc, err := samba.Start(t.Context(), o); err == nil {
			dc.Stop()
			t.Errorf("%s was accepted", name)
		}
	}
	if err := sambatest.Start(t, samba.Options{}).Vanish(t.Context()); err == nil {
		t.Error("a domain controller on loopback vanished")
	}
}
