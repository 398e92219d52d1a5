package ldap

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

// AttributesOf reads, as the guard's reader, the attributes of the account with this sAMAccountName: for a validator that the directory itself has told whose
// password it was, where that person may not bind.
func (v *Validator) AttributesOf(ctx context.Context, account string) (*wire.Attributes, error) {
	if v.guard.config.Reader == "" || !v.guard.tries(time.Now()) {
		return nil, errors.New("the person may not bind, and there is no reader account to look in that one's place")
	}
	s, e := v.serving(ctx, "")
	if e != nil {
		return nil, e
	}
	base := s.baseDN()
	var a *wire.Attributes
	var missing error
	err := v.guard.ask(ctx, s, func(c *conn) error {
		entry, err := c.one(base, "sAMAccountName", account)
		if errors.Is(err, errNoEntry) || errors.Is(err, errAmbiguous) {
			missing = err
			return nil
		}
		if err == nil {
			a, missing = fromEntry(entry, base)
		}
		return err
	})
	return a, errors.Join(err, missing)
}

// Attributes reads the attributes of somebody whose password another validator has just found right, by a bind as that person. It is no
// check: it asks no fence, and whoever calls it with a password that may be wrong spends an attempt that nobody allowed. The error is a
// *[directory.Refused] where the bind is refused.
func (v *Validator) Attributes(ctx context.Context, check directory.Check) (*wire.Attributes, error) {
	if e := check.Refuse(); e != nil {
		return nil, e
	}
	limited, cancel := context.WithTimeout(ctx, attributesTimeout)
	defer cancel()
	c, err := v.take(limited)
	if err != nil {
		return nil, err
	}
	keep := false
	defer func() {
		if keep {
			c.server.put(c)
		} else {
			c.server.drop(c)
		}
	}()
	err = c.within(ctx, v.bindFor, func() error { return c.bind(bindName(check), check.Password) })
	c.used = time.Now()
	c.seen = c.used
	verdict, understood, e := judge(err)
	switch {
	case repeats(err, check.Password):
		return nil, errors.New(repeated)
	case e != nil:
		return nil, e
	case !verdict.Reason.Right():
		keep = understood
		return nil, &directory.Refused{Verdict: verdict}
	}
	attributes, err := v.whoIs(ctx, c, check)
	keep = understood && err == nil
	return attributes, err
}
