package user

import (
	"strings"
	"time"
)

// CalledBy reports whether the user's other name still stands for the user where names of a domain are values of this attribute: whether the directory
// told it as a value of that attribute, and not too long ago. The attribute that no domain has any more, "" or another's, finds nobody.
func (u User) CalledBy(attribute string, now time.Time) bool {
	return attribute != "" && u.SignInName != "" && strings.EqualFold(u.SignInAttribute, attribute) && now.Before(u.SignInAt.Add(aliasFor))
}

// recalled is the rule of what the user is called besides the user principal name after a sign-in, by what the directory told at it: nothing changes if
// it was not asked; the new value replaces any before; none ends the one that was a value of the same attribute.
func (u User) recalled(told User) User {
	switch {
	case told.SignInAttribute == "":
	case told.SignInName != "":
		u.SignInName, u.SignInAttribute, u.SignInAt = told.SignInName, told.SignInAttribute, told.AttributesAt
	case strings.EqualFold(u.SignInAttribute, told.SignInAttribute):
		u.SignInName, u.SignInAttribute, u.SignInAt = "", "", time.Time{}
	}
	return u
}
