package kerberos_test

import goldap "github.com/go-ldap/ldap/v3"

// replace is a change of one attribute.
func replace(dn, attribute, value string) *goldap.ModifyRequest {
	change := goldap.NewModifyRequest(dn, nil)
	change.Replace(attribute, []string{value})
	return change
}
