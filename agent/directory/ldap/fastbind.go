package ldap

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/wire"
)

// fastBind is the extended operation after which a connection's binds judge passwords and do nothing else: no token is made, nobody is bound
// ([MS-ADTS] 3.1.1.3.4.2.3, LDAP_SERVER_FAST_BIND_OID).
const fastBind = "1.2.840.113556.1.4.1781"

// fastBinds is how many right passwords are timed in each way.
const fastBinds = 50

// FastBindTrial is how a server took the fast bind, beside plain binds.
type FastBindTrial struct {
	// Mode is its answer to the request for the mode; what follows is zero unless it agreed.
	Mode Said
	// Right and Wrong are its answers to a right and to a wrong password in that mode.
	Right, Wrong Said
	// Plain and Fast are the medians of the time for a right password in each way, on one connection, in turns.
	Plain, Fast time.Duration
}

// TryFastBind asks one server, given as in [Config], for a connection of fast binds, and if it agrees sends one wrong password, which counts, and a
// number of right ones in both ways. Validators do not use the mode; see docs/decisions/0015.
func TryFastBind(ctx context.Context, server string, roots *x509.CertPool, name string, right, wrong wire.Secret) (t FastBindTrial, err error) {
	for _, password := range []wire.Secret{right, wrong} {
		if e := (directory.Check{Name: name, Password: password, Fence: func(context.Context) error { return nil }}).Refuse(); e != nil {
			return t, e
		}
	}
	fast, err := connectTo(ctx, server, roots)
	if err != nil {
		return t, err
	}
	defer fast.close()
	err = fast.within(ctx, examineFor, func() error {
		_, err := fast.ldap.Extended(goldap.NewExtendedRequest(fastBind, nil))
		return err
	})
	if t.Mode, err = saidOf(err, right); err != nil || t.Mode.Result != goldap.LDAPResultSuccess {
		return t, err
	}
	plain, err := connectTo(ctx, server, roots)
	if err != nil {
		return t, err
	}
	defer plain.close()
	bind := func(c *conn, password wire.Secret) (Said, time.Duration, error) {
		began := time.Now()
		err := c.within(ctx, examineFor, func() error { return c.bind(name, password) })
		took := time.Since(began)
		said, err := saidOf(err, password)
		return said, took, err
	}
	if t.Wrong, _, err = bind(fast, wrong); err != nil {
		return t, err
	}
	var took [2][]time.Duration
	for range fastBinds {
		for i, c := range []*conn{plain, fast} {
			said, d, err := bind(c, right)
			if err != nil {
				return t, err
			}
			if c == fast {
				t.Right = said
			}
			took[i] = append(took[i], d)
		}
	}
	median := func(all []time.Duration) time.Duration { slices.Sort(all); return all[len(all)/2] }
	t.Plain, t.Fast = median(took[0]), median(took[1])
	return t, nil
}

// saidOf takes a server's answer out of an error; the error is left when nobody answered.
func saidOf(err error, password wire.Secret) (Said, error) {
	var answer *goldap.Error
	switch {
	case err == nil:
		return Said{}, nil
	case repeats(err, password):
		return Said{}, errors.New(repeated)
	case errors.As(err, &answer) && answer.ResultCode < goldap.ErrorNetwork:
		return Said{Result: int(answer.ResultCode), Text: answer.Err.Error()}, nil
	}
	return Said{}, err
}
