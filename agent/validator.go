package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport-auth/sallyport/agent/directory"
	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
	"github.com/sallyport-auth/sallyport/agent/directory/ldap"
	"github.com/sallyport-auth/sallyport/agent/directory/windows"
)

// Kind names a validator.
type Kind string

// The kinds. Auto is for settings alone: [Choose] makes one of the others of it.
const (
	Auto     Kind = "auto"
	LDAP     Kind = "ldap"
	Kerberos Kind = "kerberos"
	Windows  Kind = "windows"
)

// Choice is which validator checks passwords, and why.
type Choice struct {
	Kind Kind   `json:"kind"`
	Why  string `json:"why"`
}

// Given is what a choice depends on.
type Given struct {
	// Keytab, Unproven and Servers say that the settings have a keytab, let KDCs go unproven, name domain controllers.
	Keytab, Unproven, Servers bool
	// Domain is what this host is a member of, NoDomain why that is none; see windows.MemberOf.
	Domain   string
	NoDomain error
}

// Choose decides which validator to use: from the kind that was asked for, the other settings, and the host. Settings that contradict each other,
// or the host, are refused with [ErrConfig].
func Choose(asked Kind, g Given) (Choice, error) {
	if asked != Kerberos && g.Unproven {
		return Choice{}, fmt.Errorf("%w: --kerberos-unproven needs --validator kerberos", ErrConfig)
	}
	if (asked == LDAP || asked == Windows) && g.Keytab {
		return Choice{}, fmt.Errorf("%w: a keytab belongs to the validator kerberos, and %s was asked for", ErrConfig, asked)
	}
	switch asked {
	case LDAP:
		return Choice{LDAP, "the settings ask for it"}, nil
	case Windows:
		if g.NoDomain != nil {
			return Choice{}, fmt.Errorf("%w: %w", ErrConfig, g.NoDomain)
		}
		return Choice{Windows, "the settings ask for it; this computer is a member of " + g.Domain}, nil
	case Kerberos:
		switch {
		case g.Keytab && g.Unproven:
			return Choice{}, fmt.Errorf("%w: with a keytab KDCs are proven: leave out --kerberos-unproven", ErrConfig)
		case g.Unproven:
			return Choice{Kerberos, "the settings ask for it, WITHOUT PROOF that KDCs are genuine: whoever is on the network between can sign in as anybody"}, nil
		case !g.Keytab:
			return Choice{}, fmt.Errorf("%w: %w. Give --keytab (a key of this host's own account), or use --validator ldap", ErrConfig, kerberos.ErrUnproven)
		}
		return Choice{Kerberos, "the settings ask for it"}, nil
	case Auto, "":
		switch {
		case g.Keytab:
			return Choice{Kerberos, "chosen because there is a keytab, by which KDCs prove themselves"}, nil
		case !g.Servers && g.NoDomain == nil:
			return Choice{Windows, "chosen because this computer is a member of " + g.Domain + " and no domain controllers are given"}, nil
		}
		return Choice{LDAP, "chosen because there is no keytab, without which nothing proves that a KDC is genuine"}, nil
	}
	return Choice{}, fmt.Errorf("%w: no validator is called %q", ErrConfig, asked)
}

// NewValidator makes the validator of an agent: LDAP, which also tells the domain and people's attributes, and guards against
// lockout; if k or w is not nil, passwords are checked by Kerberos or Windows instead. Windows does without LDAP where no servers are given.
func NewValidator(l ldap.Config, k *kerberos.Config, w *windows.Config) (directory.Validator, error) {
	if w != nil {
		return newByWindows(l, *w)
	}
	byLDAP, err := ldap.New(l)
	if err != nil || k == nil {
		return byLDAP, err
	}
	c := *k
	c.Attributes, c.Guard, c.Resolver = byLDAP, byLDAP, l.Resolver
	if len(c.KDCs) == 0 {
		c.Hosts = byLDAP.Hosts // a domain controller is a KDC, and LDAP knows which of them are well
	}
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
	// UDPError is why it is asked by TCP alone although the settings allow UDP; empty if it is not.
	UDPError string `json:"udp_error,omitempty"`
	// Latency is nil before its first answer to a proof.
	Latency *Latency `json:"latency,omitempty"`
}

// Asked is which validator checks passwords, for the status.
type Asked struct {
	Choice
	// Realm, Service and KDCs are of Kerberos; Service is empty where KDCs need not prove themselves.
	Realm   string `json:"realm,omitempty"`
	Service string `json:"service,omitempty"`
	// Armor is the account with whose ticket exchanges with KDCs are armoured; empty if they are not.
	Armor string `json:"armor,omitempty"`
	KDCs  []KDC  `json:"kdcs,omitempty"`
	// Domain is what this host is a member of, with the validator windows.
	Domain string `json:"domain,omitempty"`
}

func (a *Agent) asked() *Asked {
	switch v := a.validator.(type) {
	case *ldap.Validator:
		return &Asked{Choice: Choice{LDAP, a.config.Choice.Why}}
	case both:
		s := &Asked{Choice: Choice{Kerberos, a.config.Choice.Why}, Realm: v.kerberos.Realm(), Service: v.kerberos.Service(), Armor: v.kerberos.Armor()}
		for _, k := range v.kerberos.Status() {
			s.KDCs = append(s.KDCs, KDC{k.Address, k.LastError, k.LastErrorAt, k.UDPError, a.answerer.ledger.latency(k.Address)})
		}
		return s
	case *byWindows:
		return &Asked{Choice: Choice{Windows, a.config.Choice.Why}, Domain: v.windows.Status().Domain}
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
		facts = append(facts, "realm", s.Realm, "service", s.Service, "armor", s.Armor)
		if s.Service == "" {
			a.log.Warn("passwords are checked by KDCs that need not prove themselves", facts...)
			return
		}
	}
	a.log.Info("passwords are checked", facts...)
}
