package demo

import (
	"context"

	"github.com/sallyport-auth/sallyport/lab/people"
)

// evaluationDomain is the UPN suffix of the people in the embedded directory and in the Samba domain.
const evaluationDomain = "corp.example.com"

// directory is what the agents ask.
type directory struct {
	// addresses are what agents are given as --dc, and caFile the CA of their certificates (empty: the system's).
	addresses []string
	caFile    string
	// domain is the UPN suffix of its users.
	domain string
	// label says for people what it is.
	label string
	// evaluation marks a directory that is no real one.
	evaluation bool
	// people are the accounts whose answers are known; none for a directory of the user's own.
	people []people.Person
	stop   func()
}

var _ = context.Background
