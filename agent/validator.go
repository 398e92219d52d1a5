package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
)

// Kind names a validator.
type Kind string

// The kinds. Auto is for settings alone: [Choose] makes one of the others of it.
const (
	Auto     Kind = "auto"
	LDAP     Kind = "ldap"
	Kerberos Kind = "kerberos"
)

// Choice is which validator checks passwords, and why.
type Choice struct {
	Kind Kind   `json:"kind"`
	Why  string `json:"why"`
}

// Choose decides which validator to use from the settings: which kind was asked for, whether there is a keytab, and whether KDCs may go unproven.
// Settings that contradict each other are refused with [ErrConfig].
func Choose(asked Kind, keytab, unproven bool) (Choice, error) {
	switch asked {
	case LDAP:
		if keytab || unproven {
			return Choice{}, fmt.Errorf("%w: a keytab and unproven KDCs belong to the validator kerberos, and ldap was asked for", ErrConfig)
		}
		return Choice{LDAP, "the settings ask for it"}, nil
	case Kerberos:
		switch {
		case keytab && unproven:
			return Choice{}, fmt.Errorf("%w: with a keytab KDCs are proven: leave out --kerberos-unproven", ErrConfig)
		case unproven:
			return Choice{Kerberos, "the settings ask for it, WITHOUT PROOF that KDCs are genuine: whoever is on the network between can sign in as anybody"}, nil
		case !keytab:
			return Choice{}, fmt.Errorf("%w: %w. Give --keytab (a key of this host's own account), or use --validator ldap", ErrConfig, kerberos.ErrUnproven)
		}
		return Choice{Kerberos, "the settings ask for it"}, nil
	case Auto, "":
		switch {
		case unproven:
			return Choice{}, fmt.Errorf("%w: --kerberos-unproven needs --validator kerberos", ErrConfig)
		case keytab:
			return Choice{Kerberos, "chosen because there is a keytab, by which KDCs prove themselves"}, nil
		}
		return Choice{LDAP, "chosen because there is no keytab, without which nothing proves that a KDC is genuine"}, nil
	}
	return Choice{}, fmt.Errorf("%w: no validator is called %q", ErrConfig, asked)
}

// NewValidator makes the validator of an agent: LDAP, which also tells the domain and people's attributes, and guards against
// lockout; if k is not nil, passwords are checked by Kerberos instead.
func NewValidator(l ldap.Config, k *kerberos.Config) (directory.Validator, error) {
	byLDAP, err := ldap.New(l)
	if err != nil || k == nil {
		return byLDAP, err
	}
	c := *k
	c.Attributes, c.Guard = byLDAP, byLDAP
	if c.Logger == nil {
		c.Logger = l.Logger
	}
	byKerberos, err := kerberos.New(c)
	if err != nil {
		return nil, err
	}
	return both{byLDAP, byKerberos}, nil
}

// both checks passwords by Kerberos and has LDAP for the rest.
type both struct {
	*ldap.Validator
	kerberos *kerberos.Validator
}

func (b both) Validate(ctx context.Context, c directory.Check) (directory.Result, error) {
	return b.kerberos.Validate(ctx, c)
}

// Prove also holds the realm against the domain that was found.
func (b both) Prove(ctx context.Context) (directory.Domain, error) {
	d, err := b.Validator.Prove(ctx)
	if err == nil {
		b.kerberos.Expect(d)
	}
	return d, err
}

func (b both) Expect(d directory.Domain) {
	b.Validator.Expect(d)
	b.kerberos.Expect(d)
}

// KDC is how one KDC stands.
type KDC struct {
	Address string `json:"address"`
	// LastError is why it was not heard when it was last asked; empty if it was.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}

// Asked is which validator checks passwords, for the status.
type Asked struct {
	Choice
	// Realm, Service and KDCs are of Kerberos; Service is empty where KDCs need not prove themselves.
	Realm   string `json:"realm,omitempty"`
	Service string `json:"service,omitempty"`
	KDCs    []KDC  `json:"kdcs,omitempty"`
}

func (a *Agent) asked() *Asked {
	switch v := a.validator.(type) {
	case *ldap.Validator:
		return &Asked{Choice: Choice{LDAP, a.config.Choice.Why}}
	case both:
		s := &Asked{Choice: Choice{Kerberos, a.config.Choice.Why}, Realm: v.kerberos.Realm(), Service: v.kerberos.Service()}
		for _, k := range v.kerberos.Status() {
			s.KDCs = append(s.KDCs, KDC{k.Address, k.LastError, k.LastErrorAt})
		}
		return s
	}
	return nil
}

// announce says at the start which validator it is.
func (a *Agent) announce() {
	s := a.asked()
	if s == nil {
		return
	}
	facts := []any{"validator", s.Kind, "why", s.Why}
	if s.Kind == Kerberos {
		facts = append(facts, "realm", s.Realm, "service", s.Service)
		if s.Service == "" {
			a.log.Warn("passwords are checked by KDCs that need not prove themselves", facts...)
			return
		}
	}
	a.log.Info("passwords are checked", facts...)
}
