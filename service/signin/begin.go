package signin

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// Ask is what an application wants, in no application's protocol.
type Ask struct {
	AppID, AppName string
	// ReturnTo is a path on this host without query; the browser comes there with ?journey=…
	ReturnTo string
	// LoginHint is the name that the application expects; the password page comes at once, and the name can be changed there.
	LoginHint string
	// Fresh wants a password now, whatever session there is.
	Fresh bool
	// SelectAccount wants the person to be asked for the name, whatever session there is.
	SelectAccount bool
	// MaxAge is how long ago the password may have been typed; below 0 for any time. The zero value is as good as Fresh.
	MaxAge time.Duration
}

// Begin starts a journey and returns where the browser goes next: a page of ours, or ReturnTo?journey=… at once when the
// browser's session suffices; [wire.TooManyRequests] above the limit of the client's address, since every journey is a row. It may set a cookie on w, and must be called before anything is written.
func (s *Service) Begin(w http.ResponseWriter, r *http.Request, t tenant.Tenant, a Ask) (location string, err error) {
	if !localPath(a.ReturnTo) {
		return "", fault.Newf(wire.Internal, "a journey cannot return to %.100q", a.ReturnTo)
	}
	if !s.posts.allow(web.ClientAddress(r)) {
		return "", fault.New(wire.TooManyRequests, "journeys of one address")
	}
	ctx, now := r.Context(), s.now()
	browser := web.Cookie(r, browserCookie)
	if browser == "" {
		browser = web.NewToken()
		web.SetCookie(w, browserCookie, browser)
	}
	j := journey{id: db.NewID(), browserHash: hashOf(browser), appID: a.AppID, appName: a.AppName, returnTo: a.ReturnTo, state: atName,
		trace: web.TraceID(ctx), created: now, expires: now.Add(journeyLife)}
	current, u, ok, err := s.currentSession(r, t, now)
	if err != nil {
		return "", err
	}
	reused := ok && suffices(current, u, a, now)
	if reused {
		j.state, j.sessionID, j.typedName = done, current.id, u.UPN
		if err := s.touch(ctx, t, current, now); err != nil {
			return "", err
		}
	} else if name, ok := plausibleName(a.LoginHint); ok && !a.SelectAccount {
		if j.state, err = next(j.position(), named, now); err != nil {
			return "", err
		}
		j.typedName = name
	}
	err = s.db.Write(ctx, func(tx db.Querier) error { return insertJourney(ctx, tx, t.Scope(), j) })
	if err != nil {
		return "", err
	}
	if reused {
		record := audit.SignIn{Person: u.ID, TypedName: u.UPN, Outcome: outcomeSession}
		if err := s.record(r, t, j, record, now, 0); err != nil {
			return "", err
		}
		return returnAddress(j), nil
	}
	p, err := pageOf(j.position(), now)
	if err != nil {
		return "", err
	}
	return journeyPath(t, j.id, p), nil
}

// returnAddress is where a journey's result waits to be taken.
func returnAddress(j journey) string { return j.returnTo + "?journey=" + url.QueryEscape(j.id) }

// localPath reports whether p is a path that stays on this host in every browser: "//host" and "/\host" do not, and control
// characters are dropped by browsers, which would make one of the other.
func localPath(p string) bool {
	if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, `\?#;`) {
		return false
	}
	for _, c := range []byte(p) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}
