package service

import (
	"net/http"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// publicRoutes is everything that browsers, applications and registering agents reach. The sign-in pages refuse cross-site
// posts; the OpenID Connect endpoints receive some by specification and look after themselves.
func (s *Service) publicRoutes() (http.Handler, error) {
	proxies, err := web.ParseProxies(s.cfg.Signin.TrustedProxies)
	if err != nil {
		return nil, err
	}
	log := s.log.With("part", "web")
	mux := http.NewServeMux()
	pages := web.SameOrigin(log)(s.signin.Routes())
	mux.Handle("/t/{tenant}/signin/", pages)
	mux.Handle("/t/{tenant}/signed-out", pages)
	mux.Handle("/t/{tenant}/.well-known/", s.oidc.Routes())
	mux.Handle("/t/{tenant}/oauth2/", s.oidc.Routes())
	if s.gateway != nil {
		mux.Handle("/agent/v1/register", s.gateway.Register())
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		web.Error(w, r, fault.New(wire.NotFound, "no such page"))
	})
	return web.Chain(mux, web.Trace, web.Client(proxies), web.Recover(log), web.Secure), nil
}
