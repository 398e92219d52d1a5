package service

import (
	"net/http"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// publicRoutes is everything that browsers, applications and registering agents reach. The sign-in pages refuse cross-site
// posts themselves; the OpenID Connect endpoints receive some by specification.
func (s *Service) publicRoutes() (http.Handler, error) {
	proxies, err := web.ParseProxies(s.cfg.Signin.TrustedProxies)
	if err != nil {
		return nil, err
	}
	log := s.log.With("part", "web")
	mux := http.NewServeMux()
	pages, protocol := s.signin.Routes(), s.oidc.Routes()
	mux.Handle("/t/{tenant}/signin/", pages)
	mux.Handle("/t/{tenant}/signed-out", pages)
	mux.Handle("/t/{tenant}/.well-known/", protocol)
	mux.Handle("/t/{tenant}/oauth2/", protocol)
	mux.Handle(wire.RegisterPath, s.gateway.Register())
	mux.Handle("POST "+wire.DevicePath, s.gateway.AskCode())
	mux.Handle("POST "+wire.DevicePollPath, s.gateway.PollCode())
	mux.Handle("/t/{tenant}/register", s.approve.Routes())
	mux.Handle("/t/{tenant}/register/", s.approve.Routes())
	mux.Handle("GET "+wire.RevocationsPath+"{list}", s.gateway.Revocations())
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		web.Error(w, r, fault.New(wire.NotFound, "no such page"))
	})
	return web.Chain(mux, web.Trace, web.Client(proxies), web.Recover(log), web.Secure), nil
}
