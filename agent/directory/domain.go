package directory

import (
	"context"
	"fmt"
	"strings"
)

// Domain says which domain a directory is. The zero value is none.
type Domain struct {
	// NamingContext is the domain's name as a DN ("DC=corp,DC=example"), Forest that of the forest's root domain.
	NamingContext, Forest string
	// GUID and SID are the domain's own, as Windows prints them; empty where a domain controller does not tell.
	GUID, SID string
	// DC is the DNS name of the domain controller that said so. It decides nothing.
	DC string
}

// Is reports whether two domains are one: by GUID and SID, which no other domain ever has, and by name where neither tells those. A
// domain that was built anew under its old name is another.
func (d Domain) Is(other Domain) bool {
	if d.GUID == "" && other.GUID == "" {
		return d.NamingContext != "" && strings.EqualFold(d.NamingContext, other.NamingContext)
	}
	return strings.EqualFold(d.GUID, other.GUID) && d.SID == other.SID
}

// String prints name and GUID.
func (d Domain) String() string {
	if d.GUID == "" {
		return d.NamingContext
	}
	return fmt.Sprintf("%s (%s)", d.NamingContext, d.GUID)
}

// Prover is a [Validator] that can say which domain it asks. Implementations are safe for concurrent use.
type Prover interface {
	// Prove asks a domain controller. An error says that none answered; it proves nothing for or against.
	Prove(ctx context.Context) (Domain, error)
	// Expect holds the validator to one domain: domain controllers of any other are not asked about passwords from now on.
	Expect(Domain)
}
