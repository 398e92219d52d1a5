package signin

import (
	"errors"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-auth/sallyport/wire"
)

// showName shows the name page; also while the password is waited for, when somebody wants to change the name.
func (s *Service) showName(w http.ResponseWriter, r *http.Request, v *visit) error {
	p, err := pageOf(v.journey.position(), v.now)
	if err != nil {
		return err
	}
	if p == continuePage {
		see(w, v.path(p))
		return nil
	}
	code := v.journey.lastCode
	if v.journey.state != atName {
		code = 0 // it is about the password
	}
	return s.writeForm(w, r, v, nameBody, code)
}

// identify takes a name. It says nothing about it but that it cannot be one: who the name belongs to is found out together with the
// password, so that nothing is to be learned here.
func (s *Service) identify(w http.ResponseWriter, r *http.Request, v *visit) error {
	f, err := readForm(w, r)
	if err != nil {
		return err
	}
	defer f.wipe() // a browser may have filled a password into the wrong page
	e := misnamed
	name, ok := plausibleName(f.text("username"))
	if ok {
		e = named
	}
	after := v.journey
	if after.state, err = next(v.journey.position(), e, v.now); err != nil {
		return err
	}
	after.typedName, after.lastCode = name, 0
	if !ok {
		after.lastCode = wire.InvalidPassword
	}
	err = s.move(r.Context(), v.tenant.Scope(), v.journey, after)
	if errors.Is(err, errMoved) {
		return s.reload(w, r, v)
	}
	if err != nil {
		return err
	}
	v.journey = after
	return s.goOn(w, v)
}

// reload reads the journey again, after another request was faster, and goes on with what it has become.
func (s *Service) reload(w http.ResponseWriter, r *http.Request, v *visit) error {
	j, err := findJourney(r.Context(), s.db.Reader(), v.tenant.Scope(), v.journey.id, v.journey.browserHash)
	if err != nil {
		return err
	}
	v.journey = j
	return s.goOn(w, v)
}

// plausibleName trims a typed name and reports whether it could be one in any directory: not empty, not too long, text without
// control characters.
func plausibleName(typed string) (string, bool) {
	name := strings.TrimSpace(typed)
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.IndexFunc(name, unicode.IsControl) >= 0 {
		return "", false
	}
	return name, true
}
