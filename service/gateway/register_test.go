package gateway_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestRegister(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	m := w.register(d, "a1")
	a := m.answer
	if a.TenantID != w.scope.String() || a.TenantName != "corp" || a.DirectoryID != w.directory || a.DirectoryName != "ad" ||
		a.AgentName != "a1" || a.Gateway != d.address || a.GatewayCA != "PEM of the CA" || a.TrustDomain != w.ca.TrustDomain() {
		t.Errorf("answer %+v", a)
	}
	leaf := fatal(x509.ParseCertificate(m.certificate.Certificate[0]))(t)
	if !leaf.NotAfter.Equal(a.Expires.Truncate(time.Second)) {
		t.Errorf("expires %s, certificate until %s", a.Expires, leaf.NotAfter)
	}
	if id := fatal(w.ca.Verify([]*x509.Certificate{leaf, fatal(x509.ParseCertificate(m.certificate.Certificate[1]))(t)}, time.Now()))(t); id.Agent != a.AgentID || id.Tenant != a.TenantID {
		t.Errorf("certificate of %+v", id)
	}
	row := fatal(w.fleet.ByID(t.Context(), w.scope, a.AgentID))(t)
	if row.Key.ID() != m.key.Public().ID() || row.Host != "host-a1" || row.Address == "" {
		t.Errorf("row %+v", row)
	}
}

func problemOf(t *testing.T, r *httptest.ResponseRecorder) *wire.Problem {
	t.Helper()
	if got := r.Header().Get("Content-Type"); got != wire.ProblemType {
		t.Errorf("content type %q", got)
	}
	if got := r.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("cache control %q", got)
	}
	p := fatal(wire.DecodeProblem(r.Body))(t)
	if p.Status != r.Code || p.Title == "" || p.Remedy == "" {
		t.Errorf("problem %+v with status %d", p, r.Code)
	}
	return p
}

func TestRegisterRefuses(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	token := func() string {
		_, secret, err := w.fleet.CreateToken(t.Context(), w.scope, fleet.NewToken{DirectoryID: w.directory}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	used := token()
	once, _, _ := request(t, used, "once")
	if got := post(d.Register(), once, nil); got.Code != http.StatusCreated {
		t.Fatal(got.Body)
	}
	for name, c := range map[string]struct {
		body   func(r *wire.RegisterRequest) any
		change func(*http.Request)
		status int
		code   wire.Code
	}{
		"token unknown": {func(r *wire.RegisterRequest) any { r.Token = fleet.TokenPrefix + "guess"; return *r }, nil, 401, wire.EnrolTokenInvalid},
		"token used up": {func(r *wire.RegisterRequest) any { r.Token = used; return *r }, nil, 401, wire.EnrolTokenInvalid},
		"form": {func(r *wire.RegisterRequest) any { return *r }, func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}, 400, wire.EnrolRequestInvalid},
		"junk":     {func(*wire.RegisterRequest) any { return "{" }, nil, 400, wire.EnrolRequestInvalid},
		"too long": {func(*wire.RegisterRequest) any { return strings.Repeat(" ", wire.MaxRegisterRequest+10) }, nil, 400, wire.EnrolRequestInvalid},
		"no CSR":   {func(r *wire.RegisterRequest) any { r.CSR = "none"; return *r }, nil, 400, wire.EnrolRequestInvalid},
		"certificate as CSR": {func(r *wire.RegisterRequest) any {
			r.CSR = string(w.ca.RootPEM())
			return *r
		}, nil, 400, wire.EnrolRequestInvalid},
		"CSR not signed by its key": {func(r *wire.RegisterRequest) any {
			block, _ := pem.Decode([]byte(r.CSR))
			block.Bytes[len(block.Bytes)-1] ^= 1
			r.CSR = string(pem.EncodeToMemory(block))
			return *r
		}, nil, 400, wire.EnrolRequestInvalid},
		"two CSRs":      {func(r *wire.RegisterRequest) any { r.CSR += r.CSR; return *r }, nil, 400, wire.EnrolRequestInvalid},
		"unknown suite": {func(r *wire.RegisterRequest) any { r.EnvelopeSuite = 77; return *r }, nil, 400, wire.EnrolRequestInvalid},
		"half a key":    {func(r *wire.RegisterRequest) any { r.EnvelopeKey = r.EnvelopeKey[:600]; return *r }, nil, 400, wire.EnrolRequestInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			secret := token()
			good, _, _ := request(t, secret, "x")
			changed := good
			body := c.body(&changed)
			apart := func(r *http.Request) { // each case from its own address: the limit is another test's
				r.RemoteAddr = fmt.Sprintf("[2001:db8::%x]:1", len(name))
				if c.change != nil {
					c.change(r)
				}
			}
			got := post(d.Register(), body, apart)
			if got.Code != c.status {
				t.Errorf("status %d, want %d: %s", got.Code, c.status, got.Body)
			}
			if strings.Contains(got.Body.String(), secret) {
				t.Error("the answer repeats the token")
			}
			if p := problemOf(t, got); p.Code != c.code {
				t.Errorf("code %d, want %d", p.Code, c.code)
			}
			if got := post(d.Register(), good, apart2(name)); got.Code != http.StatusCreated {
				t.Errorf("the refusal used up the token: %s", got.Body)
			}
		})
	}
}

func apart2(name string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = fmt.Sprintf("[2001:db8:1::%x]:1", len(name)) }
}

func TestRegisterIsAPost(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	got := post(d.Register(), "", func(r *http.Request) { r.Method = http.MethodGet })
	if got.Code != http.StatusMethodNotAllowed || got.Header().Get("Allow") != http.MethodPost {
		t.Errorf("%d %v", got.Code, got.Header())
	}
}

func TestRegisterIsLimitedByAddress(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	guess, _, _ := request(t, fleet.TokenPrefix+"guess", "x")
	limited := 0
	for range 60 {
		if got := post(d.Register(), guess, nil); got.Code == http.StatusTooManyRequests {
			limited++
			if got.Header().Get("Retry-After") == "" || problemOf(t, got).Code != wire.TooManyRequests {
				t.Error("a limit without a word on when to come back")
			}
		}
	}
	if limited == 0 {
		t.Error("sixty guesses at once were all heard")
	}
	if got := post(d.Register(), guess, func(r *http.Request) { r.RemoteAddr = "198.51.100.7:1" }); got.Code != http.StatusUnauthorized {
		t.Errorf("another address is limited too: %d", got.Code)
	}
}

func TestOneTokenOneAgent(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	_, secret, err := w.fleet.CreateToken(t.Context(), w.scope, fleet.NewToken{DirectoryID: w.directory}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	codes := make(chan int, 8)
	for i := range 8 {
		r, _, _ := request(t, secret, fmt.Sprint("a", i))
		wg.Go(func() { codes <- post(d.Register(), r, nil).Code })
	}
	wg.Wait()
	close(codes)
	count := map[int]int{}
	for c := range codes {
		count[c]++
	}
	if count[http.StatusCreated] != 1 || count[http.StatusUnauthorized] != 7 {
		t.Errorf("got %v", count)
	}
}
