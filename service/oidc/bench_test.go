package oidc

import "testing"

// BenchmarkSignIn is one whole sign-in as the provider sees it, over TLS, with a sign-in that asks nothing: authorize, resume and
// the exchange of the code.
func BenchmarkSignIn(b *testing.B) {
	w := newWorld(b)
	for _, c := range []struct {
		name   string
		client client
		change []string
	}{{"ES256", w.web, nil}, {"ES256, offline", w.web, []string{"scope", offline}}, {"RS256", w.spa, nil}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				w.tokens(c.client, c.change...)
			}
		})
	}
}

// BenchmarkRefresh is one rotation.
func BenchmarkRefresh(b *testing.B) {
	w := newWorld(b)
	token := w.tokens(w.web, "scope", offline)["refresh_token"].(string)
	for b.Loop() {
		a := w.refresh(w.web, token)
		if a.status != 200 {
			b.Fatal(a.body)
		}
		token = a.json["refresh_token"].(string)
	}
}

// BenchmarkUserInfo is one look at an access token.
func BenchmarkUserInfo(b *testing.B) {
	w := newWorld(b)
	access := w.tokens(w.web)["access_token"]
	for b.Loop() {
		if a := w.userInfo("acme", access); a.status != 200 {
			b.Fatal(a.body)
		}
	}
}
