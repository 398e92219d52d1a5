package signin

import (
	"hash/maphash"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/time/rate"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestParseForm(t *testing.T) {
	f, err := parseForm([]byte("username=a%40b.example&password=p%26%3D+%C3%A9%00&attempt=0&"))
	if err != nil || f.text("username") != "a@b.example" || string(f["password"]) != "p&= é\x00" || f.text("attempt") != "0" {
		t.Errorf("got %q, %v", f, err)
	}
	if f, err := parseForm([]byte("a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p")); err != nil || len(f) != maxFields {
		t.Errorf("as many fields as may be: %d, %v", len(f), err)
	}
	if f, err := parseForm([]byte("a=%09%90%aA%Af%fF")); err != nil || f.text("a") != "\x09\x90\xaa\xaf\xff" {
		t.Errorf("%q, %v", f, err)
	}
	for _, bad := range []string{"a=%", "a=%2", "a=%zz", "a=%z1", "a=%1z", "a=%:0", "a=%/0", "a=%`0", "a=%g0", "a=%@0", "a=%G0", "%=1", "a=1&a=2", "a=1&%61=2", strings.Repeat("x=1&", 2),
		"a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q"} {
		if f, err := parseForm([]byte(bad)); !fault.Has(err, wire.BadRequest) {
			t.Errorf("%q was taken as %q, %v", bad, f, err)
		}
	}
}

// Where parseForm takes a form, it reads it as net/url does.
func FuzzParseForm(f *testing.F) {
	for _, s := range []string{"", "username=anna%40corp.example&password=x+y", "a=%00&b=%ff", "a=1&a=2", "a==&=b", "%", "a=%4", "&&=&", "ä=ö"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := string(body)
		got, err := parseForm(body)
		if string(body) != before {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if !fault.Has(err, wire.BadRequest) {
				t.Fatalf("an error without its number: %v", err)
			}
			if len(before) > 8 && strings.Contains(err.Error(), before) {
				t.Fatal("the error repeats the form")
			}
			return
		}
		// ';' is an error to net/url and an ordinary character to us and to the standard.
		want, err := url.ParseQuery(strings.ReplaceAll(before, ";", "%3B"))
		if err != nil {
			t.Fatalf("net/url refuses %q: %v", before, err)
		}
		if len(got) != len(want) {
			t.Fatalf("%q: %q, net/url: %q", before, got, want)
		}
		for k, v := range want {
			if len(v) != 1 || string(got[k]) != v[0] {
				t.Fatalf("%q: field %q is %q, net/url: %q", before, k, got[k], v)
			}
		}
		got.wipe()
		for k, v := range got {
			if strings.Trim(string(v), "\x00") != "" {
				t.Fatalf("field %q survives wiping: %q", k, v)
			}
		}
	})
}

func FuzzPlausibleName(f *testing.F) {
	for _, s := range []string{"", " ", "anna@corp.example", `CORP\anna`, "a\x00b", "\xff", strings.Repeat("n", 257), " ü@ü "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		name, ok := plausibleName(typed)
		if !ok {
			if name != "" {
				t.Fatalf("an impossible name %q was kept", name)
			}
			return
		}
		if again, ok := plausibleName(name); !ok || again != name || len(name) > maxName || strings.ContainsAny(name, "\x00\r\n") {
			t.Fatalf("%q became %q, then %q %v", typed, name, again, ok)
		}
	})
}

func TestPlausibleName(t *testing.T) {
	for typed, want := range map[string]string{
		" anna@corp.example ": "anna@corp.example", strings.Repeat("n", maxName): strings.Repeat("n", maxName), strings.Repeat("n", maxName+1): "", "": "", "a\x00": "", "\xff": "",
	} {
		if name, ok := plausibleName(typed); name != want || ok != (want != "") {
			t.Errorf("%.20q of %d bytes: %.20q, %v", typed, len(typed), name, ok)
		}
	}
}

func TestLocalPath(t *testing.T) {
	for p, want := range map[string]bool{
		"/t/acme/oauth2/resume/1": true, "/": true,
		"": false, "t/acme": false, "//evil.example/x": false, `/\evil.example`: false, "/a\t/b": false, "/a b": false, "/\n/evil.example": false,
		"/a?b=c": false, "/a#b": false, "https://evil.example": false, "/a;url=b": false, "/ä": false,
	} {
		if got := localPath(p); got != want {
			t.Errorf("localPath(%q) = %v", p, got)
		}
	}
}

func TestLimiter(t *testing.T) {
	l := newLimiter(0.001, 2)
	for i, want := range []bool{true, true, false} {
		if l.allow("192.0.2.1") != want {
			t.Errorf("post %d of one address: want %v", i, want)
		}
	}
	if !l.allow("192.0.2.2") {
		t.Error("another address pays for the first")
	}
	for i, a := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::ffff"} {
		if l.allow(a) != (i < 2) {
			t.Errorf("addresses of one /64 do not share: %s", a)
		}
	}
	if !l.allow("2001:db8:0:1::1") {
		t.Error("another /64 pays for the first")
	}
	if l := newLimiter(0, 0); l.perSecond != postsPerSecond || l.burst != postBurst {
		t.Errorf("by default %v and %d", l.perSecond, l.burst)
	}
	if l := newLimiter(-1, 0); !l.allow("192.0.2.1") || !l.allow("nonsense") {
		t.Error("no limit was asked for")
	}
	// An address is forgotten after two generations of others of its shard, and not after one.
	g := newLimiter(0.001, 2)
	of := func(address string) *limiterShard {
		return &g.shards[maphash.Comparable(g.seed, web.Network(address))%uint64(len(g.shards))]
	}
	const first = "192.0.2.1"
	shard, beside := of(first), ""
	for i := 0; beside == ""; i++ {
		if a := "198.51.100." + strconv.Itoa(i); of(a) == shard {
			beside = a
		}
	}
	generation := func() {
		for i := len(shard.young); i < maxAddresses/len(g.shards); i++ {
			shard.young[netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)] = nil
		}
	}
	for i, want := range []bool{true, true, false} {
		if g.allow(first) != want {
			t.Errorf("post %d: want %v", i, want)
		}
	}
	if generation(); g.allow(first) {
		t.Error("a full generation forgets")
	}
	if !g.allow(beside) || len(shard.young) != 1 || g.allow(first) {
		t.Errorf("one generation on, with %d addresses in the new one", len(shard.young))
	}
	for range 2 {
		generation()
		shard.old, shard.young = shard.young, map[netip.Prefix]*rate.Limiter{}
	}
	if !g.allow(first) {
		t.Error("remembered for ever")
	}
	// The memory is bounded: however many addresses come, two generations of a shard at most are kept.
	for i := range 3 * maxAddresses {
		l.allow("10." + strconv.Itoa(i>>16&255) + "." + strconv.Itoa(i>>8&255) + "." + strconv.Itoa(i&255))
	}
	kept := 0
	for i := range l.shards {
		kept += len(l.shards[i].young) + len(l.shards[i].old)
	}
	if kept > 2*maxAddresses {
		t.Errorf("%d addresses are remembered", kept)
	}
}
