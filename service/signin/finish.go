package signin

import (
	"errors"
	"net/http"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// Result is who signed in.
type Result struct {
	User user.User
	// Session is the id of the browser's session, the same for all applications until the person signs out.
	Session string
	// At is when the password was typed; Methods how (RFC 8176: "pwd").
	At      time.Time
	Methods []string
}

// showContinue sends the browser on to the door that began the journey: see package web for why this is a page.
func (s *Service) showContinue(w http.ResponseWriter, r *http.Request, v *visit) error {
	p, err := pageOf(v.journey.position(), v.now)
	if err != nil {
		return err
	}
	if p != continuePage {
		see(w, v.path(p))
		return nil
	}
	return s.writeContinue(w, v, returnAddress(v.journey))
}

// Finish takes a journey's result, once. It must be the browser of the journey, and the request's path must be the one that the Ask
// named, so that the journey of one request never answers another; everything else is [wire.JourneyUnknown]. A user who was
// disabled meanwhile is [wire.AccountIsDisabled].
func (s *Service) Finish(r *http.Request, t tenant.Tenant, journeyID string) (Result, error) {
	ctx, now := r.Context(), s.now()
	browser := web.Cookie(r, browserCookie)
	if browser == "" || journeyID == "" {
		return Result{}, fault.New(wire.JourneyUnknown, "no binding cookie, or no journey named")
	}
	j, err := findJourney(ctx, s.db.Reader(), t.Scope(), journeyID, hashOf(browser))
	if err != nil {
		return Result{}, err
	}
	if r.URL.Path != j.returnTo {
		return Result{}, fault.New(wire.JourneyUnknown, "the journey belongs to another request")
	}
	after := j
	if after.state, err = next(j.position(), taken, now); err != nil {
		return Result{}, ended(err)
	}
	found, err := findSession(ctx, s.db.Reader(), t.Scope(), `id = $2`, j.sessionID)
	if err != nil {
		return Result{}, err
	}
	if found.id == "" || !found.alive(now) {
		return Result{}, fault.New(wire.JourneyUnknown, "its session has ended")
	}
	u, err := s.users.ByID(ctx, t.Scope(), found.person)
	if err != nil {
		return Result{}, err
	}
	err = s.db.Write(ctx, func(tx db.Querier) error { return moveJourney(ctx, tx, t.Scope(), j, after) })
	if errors.Is(err, errMoved) {
		return Result{}, fault.New(wire.JourneyUnknown, "its result was taken before")
	}
	if err != nil {
		return Result{}, err
	}
	if !u.Admits(found.authenticated) {
		return Result{}, fault.New(wire.AccountIsDisabled, "the user was disabled or signed out everywhere after the password")
	}
	return Result{User: u, Session: found.id, At: found.authenticated, Methods: found.methods}, nil
}
