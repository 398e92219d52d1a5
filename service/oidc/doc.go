// Package oidc speaks OpenID Connect to applications: one provider for each tenant, at the issuer
// <public URL>/t/<tenant name>, with discovery, authorize, token, userinfo, keys, logout and revoke.
//
//	browser                    oidc                              signin             application
//	   │  GET authorize          │                                  │                    │
//	   ├────────────────────────▶│ client, redirect address: page   │                    │
//	   │                         │ the rest: error to application   │                    │
//	   │                         │ oidc_request row ───── Begin ───▶│                    │
//	   │◀────────────────────────┼──────── name, password ─────────▶│                    │
//	   │  GET resume/<request>?journey=…                            │                    │
//	   ├────────────────────────▶│ Finish ─────────────────────────▶│                    │
//	   │  303 redirect_uri       │ grant + code, request row gone   │                    │
//	   │     ?code&state&iss     │                                  │                    │
//	   ├─────────────────────────┼──────────────────────────────────┼───────────────────▶│
//	   │                         │ POST token: code, verifier       │                    │
//	   │                         │◀─────────────────────────────────┼────────────────────┤
//	   │                         │ one conditional UPDATE; access, ID and refresh token  │
//	   │                         ├──────────────────────────────────┼───────────────────▶│
//
// Everything that comes out of one authorization is one family, the rows below one oidc_grant, and falls with it:
//
//	code      issued ──exchange──▶ used ──seen again──▶ family revoked
//	refresh   issued ──rotate────▶ used ──seen again, in the grace time, successor unused──▶ the same successor
//	                                    ──seen again, otherwise──▶ family revoked
//
// # What it refuses to do
//
// It never sees a password, never asks who somebody is (package signin does), keeps no code and no token (SHA-256 of them
// only), and does not redirect anywhere before client and redirect address have been found to be registered, character
// by character. It has no implicit or hybrid flow, no password grant, no request objects, no plain PKCE and no way around
// PKCE.
//
// # Choices where the specifications leave one
//
//   - Consent is the administrator's, given by registering the application: prompt=consent is accepted and shows nothing.
//   - Refresh tokens are issued with the scope offline_access only. Such a grant survives the sign-out of the browser, as
//     with Entra's refresh tokens and Keycloak's offline sessions; it ends with its own time, when it is revoked, and when
//     its user or application is disabled or removed. All other grants end with the browser's session.
//   - A refresh answer lost on the way may be asked for again within [refreshGrace]: see [successor] for why the same
//     successor can be returned although it is stored nowhere.
//   - The profile claims that a scope asks for stand in the ID token as well as in UserInfo (OpenID Connect Core §5.4 would
//     do with UserInfo), as with Entra and Keycloak: many applications never call UserInfo.
//   - discovery, keys, token, userinfo and revoke may be called by scripts of any origin, without credentials: none of
//     them looks at a cookie, so an origin gains nothing that a program elsewhere would not have.
//   - Redirect addresses of native applications match exactly too, ports included (narrower than RFC 8252 §7.3).
//   - form_post is not offered: it would need a page that posts across sites by script.
//
// The caller is the wiring of package service: it mounts [Provider.Routes] and runs [Provider.Run].
package oidc
