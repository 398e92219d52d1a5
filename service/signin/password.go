package signin

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// showPassword shows the password page.
func (s *Service) showPassword(w http.ResponseWriter, r *http.Request, v *visit) error {
	p, err := pageOf(v.journey.position(), v.now)
	if err != nil {
		return err
	}
	if p != passwordPage {
		see(w, v.path(p))
		return nil
	}
	return s.writeForm(w, r, v, passwordBody, v.journey.lastCode)
}

// checkPassword takes a password, has it checked at most once, and goes on with what came of it.
func (s *Service) checkPassword(w http.ResponseWriter, r *http.Request, v *visit) error {
	started := time.Now()
	f, err := readForm(w, r)
	if err != nil {
		return err
	}
	defer f.wipe()
	form, err := attemptNumber(f)
	if err != nil {
		return err
	}
	if v.journey.state != atPassword {
		return s.goOn(w, v) // a repetition of the post that has led on, or a page from before
	}
	if name, sent := f["username"]; sent && string(name) != v.journey.typedName {
		return s.goOn(w, v) // the name was changed in another tab: a password for one name must not be tried on another
	}
	if _, err := next(v.journey.position(), posted, v.now); err != nil {
		return err
	}
	switch judgePost(form, v.journey.attempts, v.journey.settled, v.now) {
	case forged:
		return fault.New(wire.BadRequest, "the form's attempt was never shown")
	case repeated:
		return s.goOn(w, v)
	case waiting:
		return s.await(w, r, v)
	}
	// From here on a browser that goes away changes nothing: the directory may count the attempt, so its end is written down,
	// and a second click finds it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), checkWithin)
	defer cancel()
	r = r.WithContext(ctx)
	claimed := v.journey
	claimed.attempts, claimed.settled = claimed.attempts+1, time.Time{}
	err = s.move(ctx, v.tenant.Scope(), v.journey, claimed)
	if errors.Is(err, errMoved) {
		return s.await(w, r, v) // two clicks arrived together, and the other one was first
	}
	if err != nil {
		return err
	}
	v.journey = claimed
	secret := wire.NewSecret(f["password"])
	answer, checkErr := s.password.Check(ctx, v.tenant.Scope(), password.Attempt{Name: claimed.typedName, Password: secret,
		Address: web.ClientAddress(r), Trace: web.Traceparent(ctx), Request: claimed.id})
	secret.Wipe()
	return s.settle(w, r, v, answer, checkErr, started)
}

// settle writes down what came of an attempt: first the record, so that nothing happens that is not recorded, then session and
// journey in one transaction.
func (s *Service) settle(w http.ResponseWriter, r *http.Request, v *visit, answer password.Answer, checkErr error, started time.Time) error {
	ctx, now, scope := r.Context(), s.now(), v.tenant.Scope()
	e, shown := judge(answer, checkErr)
	if checkErr != nil && fault.CodeOf(checkErr) == wire.Internal {
		s.log.ErrorContext(ctx, "a password check failed inside", "trace", v.journey.trace, "tenant", v.tenant.Name, "error", checkErr)
	}
	if err := s.record(r, v.tenant, v.journey, recordOf(v.journey.typedName, answer, checkErr, e), v.now, time.Since(started)); err != nil {
		s.log.ErrorContext(ctx, "a sign-in could not be recorded", "trace", v.journey.trace, "tenant", v.tenant.Name, "error", err)
		e, shown = unjudged, wire.Internal
	}
	after := v.journey
	var err error
	// Time may have run out while the directory thought about it. The person did everything in time; but a journey that
	// next refuses cannot get a result.
	if after.state, err = next(v.journey.position(), e, now); err != nil {
		return err
	}
	after.lastCode, after.settled = shown, now
	if e != right {
		return s.finishAttempt(w, r, v, after)
	}
	old, err := s.browserSession(r, v.tenant)
	if err != nil {
		return err
	}
	secret := web.NewToken()
	fresh := session{id: db.NewID(), secretHash: hashOf(secret), person: answer.User.ID, authenticated: now, methods: answer.Methods, used: now,
		expires: now.Add(sessionLife)}
	if !old.alive(now) {
		old.person = "" // its time is over: it is nobody's to go on with
	}
	var endedID string
	err = s.db.Write(ctx, func(tx db.Querier) error {
		var err error
		if after.sessionID, endedID, err = openSession(ctx, tx, scope, old, fresh); err != nil {
			return err
		}
		return moveJourney(ctx, tx, scope, v.journey, after)
	})
	if errors.Is(err, errMoved) {
		return s.reload(w, r, v) // the journey went back to the name meanwhile, and its person with it
	}
	if err != nil {
		return err
	}
	if endedID != "" {
		if err := s.ended(ctx, scope, endedID); err != nil {
			s.log.ErrorContext(ctx, "what was issued for an ended session could not be ended", "trace", v.journey.trace, "tenant", v.tenant.Name,
				"session", endedID, "error", err)
		}
	}
	web.SetCookie(w, sessionCookie(v.tenant), secret)
	v.journey = after
	return s.goOn(w, v)
}

// finishAttempt writes an attempt's end that leads to no session.
func (s *Service) finishAttempt(w http.ResponseWriter, r *http.Request, v *visit, after journey) error {
	err := s.move(r.Context(), v.tenant.Scope(), v.journey, after)
	if errors.Is(err, errMoved) {
		return s.reload(w, r, v)
	}
	if err != nil {
		return err
	}
	v.journey = after
	return s.goOn(w, v)
}

// judge tells what an answer means to the journey, and the number whose words the page shows.
func judge(a password.Answer, err error) (event, wire.Code) {
	switch {
	case err != nil:
		return unjudged, fault.CodeOf(err)
	case a.Right:
		return right, 0
	case a.Shown == 0: // never: but a page without words would be worse than uniform ones
		return wrong, wire.InvalidPassword
	}
	return wrong, a.Shown
}

// recordOf is what the sign-in log keeps of an answer.
func recordOf(typed string, a password.Answer, err error, e event) audit.SignIn {
	r := audit.SignIn{Person: a.User.ID, TypedName: loggedName(typed, a.NameKnown), NameForm: a.NameForm, Outcome: outcomeOf(e), Code: a.Code, Reason: string(a.Reason),
		Diagnostic: a.Diagnostic, Directory: a.Directory, Agent: a.Agent, Gateway: a.Gateway, DC: a.DC, Stops: a.Stops}
	if err != nil {
		r.Code = fault.CodeOf(err)
	}
	return r
}

// await waits until the attempt that another request has begun is settled, and goes on with what came of it.
func (s *Service) await(w http.ResponseWriter, r *http.Request, v *visit) error {
	ctx, cancel := context.WithTimeout(r.Context(), checkWithin)
	defer cancel()
	tick := time.NewTicker(waitStep)
	defer tick.Stop()
	for {
		j, err := findJourney(ctx, s.db.Reader(), v.tenant.Scope(), v.journey.id, v.journey.browserHash)
		switch {
		case err == nil && (j.state != atPassword || !j.settled.IsZero()):
			v.journey, v.now = j, s.now()
			return s.goOn(w, v)
		case err != nil && ctx.Err() == nil:
			return err
		}
		select {
		case <-ctx.Done():
			// The process that had begun is gone, or slow beyond reason: back to the page, which takes a new attempt.
			return s.goOn(w, v)
		case <-tick.C:
		}
	}
}

// attemptNumber reads the number that the page put into its form; -1 when there is none.
func attemptNumber(f form) (int, error) {
	raw, ok := f["attempt"]
	if !ok {
		return -1, nil
	}
	n, err := strconv.ParseUint(string(raw), 10, 16)
	if err != nil {
		return 0, fault.New(wire.BadRequest, "the form's attempt is not a number")
	}
	return int(n), nil
}
