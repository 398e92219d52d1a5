package bench

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/samba"
	"github.com/sallyport-auth/sallyport/lab/visitor"
	"github.com/sallyport-auth/sallyport/lab/world"
	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/wire"
)

const (
	// tries is how many wrong passwords one account is given: one less than smart lockout bears.
	tries = 3
	// block is how many times an attacker of a patient kind asks about one name.
	block = 25
	// warmUp is how many wrong passwords are typed before the first that counts: as many as the service remembers the times of.
	warmUp = 128
	// cloudDomain and nowhere are as long as the directory's domain, as all names are, so that pages that show them have one size.
	cloudDomain = "mail.example.net"
	nowhere     = "none.example.org"
	// tenantName is the world's tenant.
	tenantName = "contoso"
)

// pages is an installation of real processes, and the people whose names strangers type on its sign-in pages.
type pages struct {
	w    *world.World
	add  func([]people.Person) error
	now  meter
	last visitor.Outcome
	used map[string]int // accounts of each prefix that are spent
}

// kind is one reason for the page "name or password wrong".
type kind struct {
	name string
	// against is the kind that it must look like; empty for a password that is accepted, whose time is shown beside them.
	against string
	// logged is the number in the sign-in log, which tells the kinds apart.
	logged wire.Code
	// spread gives each account only so many tries; without it one account serves all.
	prefix, domain string
	state          people.State
	spread, known  bool
	right          bool
}

const (
	wrongPassword = "wrong password"
	cloudPassword = "cloud-only, wrong password"
)

// kinds lists the five that must look alike with their neighbours, then those of a cloud domain, which must look alike among
// themselves.
func kinds() []kind {
	return []kind{
		{name: wrongPassword, against: wrongPassword, logged: wire.InvalidPassword, prefix: "wra", spread: true, state: people.Normal},
		{name: "wrong password, again", against: wrongPassword, logged: wire.InvalidPassword, prefix: "wrb", spread: true, state: people.Normal},
		{name: "wrong password, has signed in before", against: wrongPassword, logged: wire.InvalidPassword, prefix: "kno", spread: true, known: true, state: people.Normal},
		{name: "unknown user", against: wrongPassword, logged: wire.InvalidPassword, prefix: "nob", spread: true},
		{name: "unknown domain", against: wrongPassword, logged: wire.DomainUnknown, prefix: "nod", domain: nowhere, spread: true},
		{name: "disabled", against: wrongPassword, logged: wire.InvalidPassword, prefix: "dis", spread: true, state: people.Disabled},
		{name: "disabled, right password", against: wrongPassword, logged: wire.AccountIsDisabled, prefix: "dir", state: people.Disabled, right: true},
		{name: "locked in the directory", against: wrongPassword, logged: wire.AccountLockedOut, prefix: "loc", state: people.Locked},
		{name: "locked by smart lockout", against: wrongPassword, logged: wire.AccountLockedOut, prefix: "smt", state: people.Normal},
		{name: "right password", prefix: "rig", state: people.Normal, right: true},
		{name: cloudPassword, against: cloudPassword, logged: wire.InvalidPassword, prefix: "cla", domain: cloudDomain},
		{name: cloudPassword + ", again", against: cloudPassword, logged: wire.InvalidPassword, prefix: "cla", domain: cloudDomain},
		{name: "cloud domain, unknown user", against: cloudPassword, logged: wire.UserNotFound, prefix: "cln", domain: cloudDomain, spread: true},
	}
}

// upn is the name of the account that the n-th try of a kind is about.
func (k kind) upn(n int) string {
	if !k.spread {
		n = 0
	}
	return fmt.Sprintf("%s%05d@%s", k.prefix, n/tries, cmp.Or(k.domain, world.Domain))
}

// meter is a transport that times what an attacker can: from the post of the password to the whole of its answer. It says of each
// request that it came from another address, as a proxy does, so that no limit of one address is met, and keeps the answers.
type meter struct {
	next    http.RoundTripper
	address int
	took    time.Duration
	seen    []string // the answers to the password and the page after it, without what differs by chance
}

var (
	byChance = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}`)
	dated    = regexp.MustCompile(`(?m)^Date: .*$`)
)

func (m *meter) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-For", fmt.Sprintf("10.%d.%d.%d", m.address>>16&0xff, m.address>>8&0xff, m.address&0xff))
	posted := r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/password")
	began := time.Now()
	answer, err := m.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(answer.Body)
	took := time.Since(began)
	_ = answer.Body.Close()
	if err != nil {
		return nil, err
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	if posted {
		m.took, m.seen = took, nil
	}
	if posted || len(m.seen) > 0 {
		var headers bytes.Buffer
		_ = answer.Header.Write(&headers) // a buffer takes everything
		said := headers.String()
		m.seen = append(m.seen, byChance.ReplaceAllString(fmt.Sprintf("%s, %d bytes\n%s\n%s", answer.Status, len(body), dated.ReplaceAllString(said, ""), body), "…"))
	}
	return answer, nil
}

// openPages starts an installation; where is "evaluation" or "samba".
func openPages(b testing.TB, where string) *pages {
	programs, err := world.Build(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	p := &pages{used: map[string]int{}}
	o := world.Options{Programs: programs, Dir: b.TempDir(), Agents: 1, Quiet: true, Settings: []string{"signin.trusted_proxies=127.0.0.1"}}
	if where == "samba" {
		if err := samba.Available(); err != nil {
			b.Skip(err)
		}
		dc := must(samba.Start(b.Context(), samba.Options{Model: samba.Prefork}))(b)
		b.Cleanup(dc.Stop)
		o.Directory = world.Directory{Addresses: []string{dc.LDAPS()}, CAFile: dc.CAFile, Domain: dc.UPNSuffix}
		p.add = func(all []people.Person) error { return dc.Fill(b.Context(), all) }
	}
	p.w = must(world.Start(b.Context(), o))(b)
	b.Cleanup(p.w.Close)
	if where == "evaluation" {
		p.add = func(all []people.Person) error { return p.w.Directory.Add(all...) }
	}
	transport := p.w.Transport()
	b.Cleanup(transport.CloseIdleConnections)
	p.now.next = transport

	var user admin.User
	cloud, name := "cloud", kind{prefix: "cla", domain: cloudDomain}.upn(0)
	for _, call := range []struct {
		method, path string
		in, out      any
	}{
		{http.MethodPost, admin.Path("tenants", tenantName, "domains"), admin.DomainInput{Name: cloudDomain, Kind: &cloud}, nil},
		{http.MethodPost, admin.Path("tenants", tenantName, "users"), admin.UserInput{UPN: name}, &user},
		{http.MethodPut, admin.Path("tenants", tenantName, "users", name, "password"), map[string]string{"password": people.RightPassword}, nil},
	} {
		if err := p.w.API.Do(b.Context(), call.method, call.path, call.in, call.out); err != nil {
			b.Fatal(call.path, err)
		}
	}
	return p
}

// ready makes the accounts for so many more tries of each kind.
func (p *pages) ready(b testing.TB, all []kind, n int) {
	for _, k := range all {
		first := p.used[k.name]
		if first%tries != 0 { // begins with an account that has had none
			first += tries - first%tries
			p.used[k.name] = first
		}
		count := 1
		if k.spread {
			count = (n + tries - 1) / tries
		} else if first > 0 {
			continue
		}
		var fresh []people.Person
		for i := range count {
			name := k.upn(first + i*tries)
			sam, _, _ := strings.Cut(name, "@")
			if k.state != "" {
				fresh = append(fresh, people.Person{SAM: sam, UPN: name, Password: wire.NewSecret([]byte(people.RightPassword)), State: k.state})
			}
		}
		if err := p.add(fresh); err != nil {
			b.Fatal(err)
		}
		for _, one := range fresh {
			if k.known {
				if saw := p.signIn(b, one.UPN, people.RightPassword); saw.SignedIn == "" {
					b.Fatalf("%s: %+v", one.UPN, saw)
				}
			}
		}
		if k.name == "locked by smart lockout" {
			for range tries + 1 {
				p.signIn(b, k.upn(0), people.WrongPassword)
			}
		}
	}
}

func (p *pages) signIn(b testing.TB, name, password string) visitor.Outcome {
	b.Helper()
	p.now.address++
	saw, err := visitor.New(p.w.App, &p.now).SignIn(b.Context(), name, password)
	if err != nil {
		b.Fatal(name, err)
	}
	p.last = saw
	return saw
}

// try types what belongs to a kind and returns how long the answer took and what was seen.
func (p *pages) try(b testing.TB, k kind) (took time.Duration, seen string) {
	b.Helper()
	password := people.WrongPassword
	if k.right {
		password = people.RightPassword
	}
	name := k.upn(p.used[k.name])
	p.used[k.name]++
	if saw := p.signIn(b, name, password); saw.Code != int(wire.InvalidPassword) && (k.against != "" || saw.SignedIn != name) {
		b.Fatalf("%s: %s saw %+v", k.name, name, saw)
	}
	return p.now.took, strings.ReplaceAll(strings.Join(p.now.seen, "\n"), name, "NAME")
}

// TestUniformPages types on real pages what belongs to each kind: every answer to the password, and the page after it, is the
// same to the byte, but for the typed name and identifiers of one length.
func TestUniformPages(t *testing.T) {
	for _, where := range []string{"evaluation", "samba"} {
		t.Run(where, func(t *testing.T) {
			p, all := openPages(t, where), kinds()
			p.ready(t, all, 1)
			_, first := p.try(t, all[0])
			for _, k := range all[1:] {
				if k.against == "" {
					continue
				}
				if _, seen := p.try(t, k); seen != first {
					t.Errorf("%s looks different from a wrong password:\n%s\n--- not ---\n%s", k.name, seen, first)
				}
				var log admin.Page[admin.SignIn]
				err := p.w.API.Do(t.Context(), http.MethodGet, admin.Path("tenants", tenantName, "signins")+"?trace="+p.last.Trace, nil, &log)
				if err != nil || len(log.Items) != 1 || log.Items[0].Code != k.logged {
					t.Errorf("%s: the sign-in log has %+v, %v; want one record with %d", k.name, log.Items, err, k.logged)
				}
			}
			if !strings.Contains(first, "NAME") || !strings.Contains(first, "50126") {
				t.Errorf("this is not the page of a wrong password:\n%s", first)
			}
		})
	}
}

// TestStatistics: they say nothing where there is nothing, and everything where all differs.
func TestStatistics(t *testing.T) {
	var low, high, mixed []float64
	for i := range 4 * block {
		low, high = append(low, float64(i%10)), append(high, float64(100+i%10))
		mixed = append(mixed, float64(i%20)) // half of it is above all of low
	}
	for _, c := range []struct {
		name                 string
		a, b                 []float64
		auc, chance, patient float64
		distance             float64
	}{
		{"the same", low, low, 0.5, 0.5, 0.5, 0},
		{"above", high, low, 1, 1, 1, 1},
		{"below", low, high, 0, 1, 1, 1},
		{"half above", mixed, low, 0.75, 0.75, 1, 0.5},
	} {
		if got := auc(c.a, c.b); got != c.auc {
			t.Errorf("%s: auc %v, want %v", c.name, got, c.auc)
		}
		if got := chance(c.a, c.b); got != c.chance {
			t.Errorf("%s: chance %v, want %v", c.name, got, c.chance)
		}
		if got := patient(c.a, c.b); got != c.patient {
			t.Errorf("%s: patient %v, want %v", c.name, got, c.patient)
		}
		if got := distance(c.a, c.b); math.Abs(got-c.distance) > 0.001 {
			t.Errorf("%s: distance %v, want %v", c.name, got, c.distance)
		}
	}
	if by := luck(high, low, chance); by > 0.65 {
		t.Errorf("luck tells %v apart", by)
	}
}

// BenchmarkUniformity compares the times of what must look alike. docs/benchmarks.md tells the method; b.N is how often each kind
// is tried.
//
//	go test -timeout 60m -run '^$' -bench Uniformity -benchtime 300x ./lab/bench
func BenchmarkUniformity(b *testing.B) {
	for _, where := range []string{"evaluation", "samba"} {
		b.Run(where, func(b *testing.B) {
			p, all := openPages(b, where), kinds()
			unknown := all[slices.IndexFunc(all, func(k kind) bool { return k.name == "unknown user" })]
			for range warmUp {
				p.try(b, unknown)
			}
			for _, group := range []struct{ name, base string }{{"directory", wrongPassword}, {"cloud", cloudPassword}} {
				some := slices.DeleteFunc(slices.Clone(all), func(k kind) bool { return (k.domain == cloudDomain) != (group.base == cloudPassword) })
				b.Run(group.name, func(b *testing.B) { p.compare(b, where, some) })
			}
		})
	}
}

// compare tries all kinds in turns, in another order each time, and prints a line for each.
func (p *pages) compare(b *testing.B, where string, all []kind) {
	p.ready(b, all, b.N)
	times := map[string][]float64{}
	b.ResetTimer()
	for range b.N {
		for _, i := range rand.Perm(len(all)) {
			took, _ := p.try(b, all[i])
			times[all[i].name] = append(times[all[i].name], took.Seconds()*1000)
		}
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op")
	if b.N < block {
		return
	}
	fmt.Println() // the lines below are a benchmark's, one for each kind
	for _, k := range all {
		mine, other := times[k.name], times[k.against]
		fmt.Printf("BenchmarkUniformity/%s/%s\t%d\t%.1f p50-ms\t%.1f p90-ms\t%.1f p99-ms", where, dashes.Replace(k.name), b.N,
			percentile(mine, 50), percentile(mine, 90), percentile(mine, 99))
		if k.against != k.name && k.against != "" {
			fmt.Printf("\t%.0f %%-by-1\t%.0f %%-luck-by-1\t%.0f %%-by-%d\t%.0f %%-luck-by-%[4]d\t%.2[6]f KS", 100*chance(mine, other), 100*luck(mine, other, chance),
				100*patient(mine, other), block, 100*luck(mine, other, patient), distance(mine, other))
		}
		fmt.Println()
	}
}

// dashes makes a name of a benchmark.
var dashes = strings.NewReplacer(", ", "-", " ", "-")

// luck is how large a statistic of two kinds becomes in one of twenty runs where there is no difference: the times of each round change
// sides by the toss of a coin.
func luck(a, b []float64, statistic func(a, b []float64) float64) float64 {
	var all []float64
	for range 200 {
		x, y := slices.Clone(a), slices.Clone(b)
		for i := range x {
			if rand.N(2) == 0 {
				x[i], y[i] = y[i], x[i]
			}
		}
		all = append(all, statistic(x, y))
	}
	return percentile(all, 95)
}

// auc is the area under the curve of who decides by one number: the probability that one of a is greater than one of b, ties
// counted half (the statistic of Mann and Whitney, divided by its largest value).
func auc(a, b []float64) float64 {
	sorted := slices.Sorted(slices.Values(b))
	sum := 0.0
	for _, x := range a {
		below, _ := slices.BinarySearch(sorted, x)
		above, _ := slices.BinarySearchFunc(sorted, x, func(y, x float64) int {
			if y <= x {
				return -1
			}
			return 1
		})
		sum += float64(below) + float64(above-below)/2
	}
	return sum / float64(len(a)*len(b))
}

// chance is how often an attacker who is shown one number of each tells which is which: ½ is a coin.
func chance(a, b []float64) float64 {
	one := auc(a, b)
	return max(one, 1-one)
}

// patient is chance for an attacker who takes block times of each and compares the smallest, the lower quartile, the median or the
// mean of them, whichever is best.
func patient(a, b []float64) float64 {
	if len(a) < block || len(b) < block {
		return 0.5
	}
	best := 0.5
	for _, digest := range []func([]float64) float64{slices.Min[[]float64], func(s []float64) float64 { return percentile(s, 25) },
		func(s []float64) float64 { return percentile(s, 50) }, mean} {
		digests := func(all []float64) (out []float64) {
			for some := range slices.Chunk(all, block) {
				if len(some) == block {
					out = append(out, digest(some))
				}
			}
			return out
		}
		best = max(best, chance(digests(a), digests(b)))
	}
	return best
}

// distance is the statistic of Kolmogorov and Smirnov: the largest difference between the two shares of times below any limit. An
// attacker who knows the best limit is right with (1 + distance) / 2.
func distance(a, b []float64) float64 {
	below := func(sorted []float64, x float64) float64 {
		n, _ := slices.BinarySearchFunc(sorted, x, func(y, x float64) int {
			if y <= x {
				return -1
			}
			return 1
		})
		return float64(n) / float64(len(sorted))
	}
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	most := 0.0
	for _, x := range slices.Concat(a, b) {
		most = max(most, math.Abs(below(a, x)-below(b, x)))
	}
	return most
}

func percentile(all []float64, percent int) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[(len(sorted)-1)*percent/100]
}

func mean(all []float64) float64 {
	sum := 0.0
	for _, x := range all {
		sum += x
	}
	return sum / float64(len(all))
}
