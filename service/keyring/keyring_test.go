package keyring

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

type fixture struct {
	*Ring
	store *db.DB
	a, b  tenant.Scope
}

func setUp(t *testing.T) fixture {
	t.Helper()
	store := dbtest.New(t)
	box, err := atrest.OpenOrCreate(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return fixture{New(store, box, slog.New(slog.DiscardHandler)), store, newTenant(t, store, "tenant-a"), newTenant(t, store, "tenant-b")}
}

func newTenant(t *testing.T, store *db.DB, name string) tenant.Scope {
	t.Helper()
	id := db.NewID()
	err := store.Write(context.Background(), func(tx db.Querier) error {
		_, err := tx.ExecContext(context.Background(),
			`INSERT INTO tenant (id, name, display_name, color, created_at, changed_at) VALUES ($1, $2, $2, '#000000', 1, 1)`, id, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tenant.ScopeOf(id)
}

type claims struct {
	Subject string `json:"sub"`
}

func (f fixture) sign(t *testing.T, scope tenant.Scope, algorithm string, now time.Time) string {
	t.Helper()
	s, err := f.Sign(t.Context(), scope, algorithm, "JWT", claims{"ada"}, now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f fixture) jwks(t *testing.T, scope tenant.Scope, now time.Time) jose.JSONWebKeySet {
	t.Helper()
	data, err := f.PublicKeys(t.Context(), scope, now)
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	return set
}

// asClient verifies a token as a relying party would: with a JWKS and nothing of ours.
func asClient(set jose.JSONWebKeySet, compact string) error {
	jws, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
	if err != nil {
		return err
	}
	keys := set.Key(jws.Signatures[0].Protected.KeyID)
	if len(keys) != 1 {
		return errors.New("unknown key")
	}
	_, err = jws.Verify(keys[0])
	return err
}

func kidOf(t *testing.T, compact string) string {
	t.Helper()
	return header(t, compact)["kid"].(string)
}

func header(t *testing.T, compact string) map[string]any {
	t.Helper()
	first, _, _ := strings.Cut(compact, ".")
	raw, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		t.Fatal(err)
	}
	h := map[string]any{}
	if err := json.Unmarshal(raw, &h); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestSignPublishVerify(t *testing.T) {
	f, now := setUp(t), time.Now()
	for _, algorithm := range []string{ES256, RS256} {
		t.Run(algorithm, func(t *testing.T) {
			compact := f.sign(t, f.a, algorithm, now)
			h := header(t, compact)
			if h["alg"] != algorithm || h["typ"] != "JWT" {
				t.Errorf("header %v", h)
			}
			set := f.jwks(t, f.a, now)
			if err := asClient(set, compact); err != nil {
				t.Error(err)
			}
			key := set.Key(kidOf(t, compact))[0]
			thumb, err := key.Thumbprint(5) // crypto.SHA256
			if err != nil || base64.RawURLEncoding.EncodeToString(thumb) != key.KeyID {
				t.Errorf("kid %s is not the RFC 7638 thumbprint", key.KeyID)
			}
			if !key.IsPublic() || key.Use != "sig" || key.Algorithm != algorithm {
				t.Errorf("published key: public %v, use %q, alg %q", key.IsPublic(), key.Use, key.Algorithm)
			}
			payload, err := f.Verify(t.Context(), f.a, compact, "JWT", now)
			if err != nil || string(payload) != `{"sub":"ada"}` {
				t.Errorf("%s, %v", payload, err)
			}
			if again := f.sign(t, f.a, algorithm, now.Add(time.Minute)); kidOf(t, again) != kidOf(t, compact) {
				t.Error("another key for the second token")
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	f, now := setUp(t), time.Now()
	compact := f.sign(t, f.a, ES256, now)
	parts := strings.Split(compact, ".")
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	kid := kidOf(t, compact)
	foreign := f.sign(t, f.b, ES256, now)
	hmacSigner, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(strings.Repeat("k", 32))},
		(&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", kid))
	if err != nil {
		t.Fatal(err)
	}
	jws, err := hmacSigner.Sign([]byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	hs256, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	rs := f.sign(t, f.a, RS256, now)
	flipped := []byte(parts[2])
	flipped[5] ^= 1
	for _, test := range []struct{ name, token, typ string }{
		{"empty", "", "JWT"},
		{"garbage", "a.b.c", "JWT"},
		{"too long", compact + strings.Repeat("A", maxCompact), "JWT"},
		{"another type", compact, "at+jwt"},
		{"another tenant's", foreign, "JWT"},
		{"alg none", encode(`{"alg":"none","typ":"JWT","kid":"`+kid+`"}`) + "." + parts[1] + ".", "JWT"},
		{"alg HS256", hs256, "JWT"},
		{"algorithm of another key", encode(`{"alg":"RS256","typ":"JWT","kid":"`+kid+`"}`) + "." + strings.Join(strings.Split(rs, ".")[1:], "."), "JWT"},
		{"changed payload", parts[0] + "." + encode(`{"sub":"eve"}`) + "." + parts[2], "JWT"},
		{"changed signature", parts[0] + "." + parts[1] + "." + string(flipped), "JWT"},
		{"no kid", encode(`{"alg":"ES256","typ":"JWT"}`) + "." + parts[1] + "." + parts[2], "JWT"},
		{"unknown kid", encode(`{"alg":"ES256","typ":"JWT","kid":"x"}`) + "." + parts[1] + "." + parts[2], "JWT"},
	} {
		if _, err := f.Verify(t.Context(), f.a, test.token, test.typ, now); !fault.Has(err, wire.Unauthenticated) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if _, err := f.Verify(t.Context(), f.a, compact, "JWT", now); err != nil {
		t.Errorf("the unchanged token: %v", err)
	}
}

func TestScopes(t *testing.T) {
	f, now := setUp(t), time.Now()
	var zero tenant.Scope
	calls := map[string]error{}
	_, calls["Sign"] = f.Sign(t.Context(), zero, ES256, "JWT", claims{}, now)
	_, calls["PublicKeys"] = f.PublicKeys(t.Context(), zero, now)
	_, calls["Verify"] = f.Verify(t.Context(), zero, "x", "JWT", now)
	calls["Rotate"] = f.Rotate(t.Context(), zero, ES256, now)
	calls["Replace"] = f.Replace(t.Context(), zero, ES256, now)
	calls["Prepare"] = f.Prepare(t.Context(), zero, ES256, now)
	for name, err := range calls {
		if !errors.Is(err, tenant.ErrNoScope) {
			t.Errorf("%s with the zero scope: %v", name, err)
		}
	}
	ofA, ofB := f.jwks(t, f.a, now), f.jwks(t, f.b, now)
	if len(ofA.Keys) != 1 || len(ofB.Keys) != 1 || ofA.Keys[0].KeyID == ofB.Keys[0].KeyID {
		t.Error("two tenants share a key")
	}
}

func TestRefusesWhatItCannotSign(t *testing.T) {
	f, now := setUp(t), time.Now()
	for _, algorithm := range []string{"", "none", "HS256", "PS256", "ES384"} {
		if _, err := f.Sign(t.Context(), f.a, algorithm, "JWT", claims{}, now); !errors.Is(err, ErrAlgorithm) {
			t.Errorf("%q: %v", algorithm, err)
		}
		if err := f.Rotate(t.Context(), f.a, algorithm, now); !errors.Is(err, ErrAlgorithm) {
			t.Errorf("rotating %q: %v", algorithm, err)
		}
		if err := f.Prepare(t.Context(), f.a, algorithm, now); !errors.Is(err, ErrAlgorithm) {
			t.Errorf("preparing %q: %v", algorithm, err)
		}
		if err := f.Replace(t.Context(), f.a, algorithm, now); !errors.Is(err, ErrAlgorithm) || !fault.Has(err, wire.BadRequest) {
			t.Errorf("replacing %q: %v", algorithm, err)
		}
	}
	if _, err := f.Sign(t.Context(), f.a, ES256, "JWT", claims{strings.Repeat("x", maxPayload)}, now); err == nil {
		t.Error("a payload beyond the limit was signed")
	}
	if _, err := f.Sign(t.Context(), f.a, ES256, "JWT", func() {}, now); err == nil {
		t.Error("a function was signed")
	}
}

// TestClientThatCachesTheJWKS is a relying party with a cache of a whole cache life over real keys, store and loop turns.
func TestClientThatCachesTheJWKS(t *testing.T) {
	f, now := setUp(t), time.Now()
	type shown struct {
		token string
		until time.Time
	}
	var live []shown
	kids := map[string]bool{}
	set, fetched := f.jwks(t, f.a, now), now
	for end := now.Add(3 * period); now.Before(end); now = now.Add(11 * time.Hour) {
		if err := f.turnAll(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		token := f.sign(t, f.a, ES256, now)
		kids[kidOf(t, token)] = true
		live = append(live, shown{token, now.Add(LongestToken)})
		if now.Sub(fetched) >= CacheLife {
			set, fetched = f.jwks(t, f.a, now), now
		}
		kept := live[:0]
		for _, s := range live {
			if now.After(s.until) {
				continue
			}
			kept = append(kept, s)
			if err := asClient(set, s.token); err != nil {
				t.Fatalf("%v: %v", now, err)
			}
			if _, err := f.Verify(t.Context(), f.a, s.token, "JWT", now); err != nil {
				t.Fatalf("%v: %v", now, err)
			}
		}
		live = kept
	}
	if len(kids) < 3 {
		t.Errorf("%d keys signed in three periods", len(kids))
	}
	if n := len(f.jwks(t, f.a, now).Keys); n > 2 {
		t.Errorf("%d keys are still published", n)
	}
}

func TestRotateByHandBreaksNothing(t *testing.T) {
	f, now := setUp(t), time.Now()
	old := f.sign(t, f.a, ES256, now)
	if err := f.Rotate(t.Context(), f.a, ES256, now); err != nil {
		t.Fatal(err)
	}
	if err := f.Rotate(t.Context(), f.a, ES256, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n := len(f.jwks(t, f.a, now).Keys); n != 2 {
		t.Fatalf("%d keys published after two calls, want the old and one successor", n)
	}
	if k := kidOf(t, f.sign(t, f.a, ES256, now.Add(CacheLife))); k != kidOf(t, old) {
		t.Error("the new key signs before caches have ended")
	}
	fresh := f.sign(t, f.a, ES256, now.Add(publishAhead))
	if kidOf(t, fresh) == kidOf(t, old) {
		t.Error("the new key never signs")
	}
	if _, err := f.Verify(t.Context(), f.a, old, "JWT", now.Add(publishAhead+LongestToken)); err != nil {
		t.Error(err)
	}
	later := now.Add(publishAhead + stayPublished)
	if _, err := f.Verify(t.Context(), f.a, old, "JWT", later); !fault.Has(err, wire.Unauthenticated) {
		t.Errorf("a removed key still verifies: %v", err)
	}
	if err := f.turnAll(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	keys, err := line(t.Context(), f.store.Reader(), f.a.String(), ES256)
	if err != nil || len(keys) != 1 || keys[0].id != kidOf(t, fresh) {
		t.Errorf("rows left: %d, %v", len(keys), err)
	}
}

func TestReplaceForgetsTheStolenKeyAtOnce(t *testing.T) {
	f, now := setUp(t), time.Now()
	stolen, other := f.sign(t, f.a, ES256, now), f.sign(t, f.b, ES256, now)
	if err := f.Rotate(t.Context(), f.a, ES256, now); err != nil { // a waiting key may be stolen as well
		t.Fatal(err)
	}
	if err := f.Replace(t.Context(), f.a, ES256, now); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Verify(t.Context(), f.a, stolen, "JWT", now); !fault.Has(err, wire.Unauthenticated) {
		t.Errorf("the stolen key still verifies: %v", err)
	}
	fresh := f.sign(t, f.a, ES256, now)
	set := f.jwks(t, f.a, now)
	if len(set.Keys) != 1 || asClient(set, fresh) != nil || asClient(set, stolen) == nil {
		t.Errorf("%d keys published", len(set.Keys))
	}
	if _, err := f.Verify(t.Context(), f.b, other, "JWT", now); err != nil {
		t.Errorf("another tenant was hit: %v", err)
	}
}

func TestPrepareIsBeforeTheFirstToken(t *testing.T) {
	f, now := setUp(t), time.Now()
	for range 2 {
		if err := f.Prepare(t.Context(), f.a, RS256, now); err != nil {
			t.Fatal(err)
		}
	}
	set := f.jwks(t, f.a, now)
	if err := asClient(set, f.sign(t, f.a, RS256, now)); err != nil {
		t.Error(err)
	}
	if len(set.Keys) != 2 {
		t.Errorf("%d keys", len(set.Keys))
	}
}

func TestManyAtOnceMakeOneKey(t *testing.T) {
	f, now := setUp(t), time.Now()
	rings := []*Ring{f.Ring, New(f.store, f.box, nil), New(f.store, f.box, nil)}
	var mu sync.Mutex
	kids := map[string]bool{}
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			s, err := rings[i%len(rings)].Sign(t.Context(), f.a, ES256, "JWT", claims{"ada"}, now)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			kids[kidOf(t, s)] = true
		})
	}
	wg.Wait()
	if len(kids) != 1 {
		t.Errorf("%d first keys", len(kids))
	}
	wg = sync.WaitGroup{}
	for i := range 6 {
		wg.Go(func() {
			if err := rings[i%len(rings)].Rotate(t.Context(), f.a, ES256, now); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(f.jwks(t, f.a, now).Keys); n != 2 {
		t.Errorf("%d keys after racing rotations, want 2", n)
	}
}

func TestPrivateKeysAreSealed(t *testing.T) {
	f, now := setUp(t), time.Now()
	kid := kidOf(t, f.sign(t, f.a, ES256, now))
	sealed, err := sealedPrivate(t.Context(), f.store.Reader(), f.a.String(), kid)
	if err != nil {
		t.Fatal(err)
	}
	clearText, err := f.box.Open(purpose(f.a.String(), kid), sealed)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sealed), string(clearText[len(clearText)/2:])) {
		t.Error("the key lies in the store in clear")
	}
	if _, err := f.box.Open(purpose(f.b.String(), kid), sealed); err == nil {
		t.Error("a key's row can be moved to another tenant")
	}
	other, err := atrest.OpenOrCreate(filepath.Join(t.TempDir(), "other"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(f.store, other, nil).Sign(t.Context(), f.a, ES256, "JWT", claims{}, now); err == nil || !strings.Contains(err.Error(), "key file") {
		t.Errorf("another key file: %v", err)
	}
}

func TestParsedKeysAreBounded(t *testing.T) {
	var p parsed
	for i := range maxParsed + 10 {
		p.put(parsedID{"t", string(rune(i))}, nil)
	}
	if len(p.keys) != maxParsed {
		t.Errorf("%d kept", len(p.keys))
	}
}

func TestRunTurnsKeysOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := setUp(t)
		before := kidOf(t, f.sign(t, f.a, ES256, time.Now()))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		time.Sleep(period - publishAhead + turnEvery) // the bubble's clock
		synctest.Wait()
		if n := len(f.jwks(t, f.a, time.Now()).Keys); n != 2 {
			t.Errorf("%d keys published before the end of the period", n)
		}
		time.Sleep(publishAhead + turnEvery)
		synctest.Wait()
		if kidOf(t, f.sign(t, f.a, ES256, time.Now())) == before {
			t.Error("the old key still signs")
		}
		time.Sleep(stayPublished)
		synctest.Wait()
		if n := len(f.jwks(t, f.a, time.Now()).Keys); n != 1 {
			t.Errorf("%d keys published long after", n)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func FuzzParse(f *testing.F) {
	m, err := mint(ES256)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("")
	f.Add("a.b.c")
	f.Add(`{"payload":"","signatures":[]}`)
	f.Add("eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6IngifQ.e30.AAAA")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	public, err := parsePublic(m.public)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, compact string) {
		u, err := parse(compact, "JWT")
		if err != nil {
			return
		}
		if u.algorithm != ES256 && u.algorithm != RS256 {
			t.Errorf("algorithm %q got through", u.algorithm)
		}
		if _, err := u.jws.Verify(public); err == nil {
			t.Error("a token verifies that nobody signed")
		}
	})
}
