package wire

import "time"

// Reason says how a directory judged a name and a password. Values are part of the protocol: they are appended to, never
// changed.
type Reason string

// The reasons, with the AD sub-code of an LDAP bind, Win32 and NTSTATUS twins (MS-ERREF; MS-ADTS 3.1.1.3 for the text).
const (
	Accepted          Reason = "accepted"             // the password is right and the account may sign in
	BadPassword       Reason = "bad_password"         // 52e, 1326: name or password wrong, the directory does not say which
	NoSuchUser        Reason = "no_such_user"         // 525, 1317
	AccountLocked     Reason = "account_locked"       // 775, 1909: the password was not judged
	AccountRestricted Reason = "account_restricted"   // 52f, 1327: Protected Users, blank password rules
	AccountDisabled   Reason = "account_disabled"     // 533, 1331: the password was right
	AccountExpired    Reason = "account_expired"      // 701, 1793: the password was right
	PasswordExpired   Reason = "password_expired"     // 532, 1330: the password was right
	MustChange        Reason = "password_must_change" // 773, 1907: the password was right
	LogonHours        Reason = "logon_hours"          // 530, 1328: the password was right
	Workstation       Reason = "workstation"          // 531, 1329: the password was right
	TooManyGroups     Reason = "too_many_groups"      // 568, 1384
)

// Known reports whether r is one of the reasons above. An unknown reason must be treated as trouble, never as a verdict.
func (r Reason) Known() bool {
	switch r {
	case Accepted, BadPassword, NoSuchUser, AccountLocked, AccountRestricted, AccountDisabled, AccountExpired,
		PasswordExpired, MustChange, LogonHours, Workstation, TooManyGroups:
		return true
	}
	return false
}

// Right reports whether the person may go on: only [Accepted].
func (r Reason) Right() bool { return r == Accepted }

// Wrong reports whether the directory judged the password (or the name) to be wrong. These, and no others, count towards
// lockout.
func (r Reason) Wrong() bool { return r == BadPassword || r == NoSuchUser }

// ProvesPassword reports whether the directory gives this reason only to somebody who knows the password. Such a reason may
// be shown to the person; any other would tell strangers about the account.
func (r Reason) ProvesPassword() bool {
	switch r {
	case Accepted, AccountDisabled, AccountExpired, PasswordExpired, MustChange, LogonHours, Workstation:
		return true
	}
	return false
}

// Verdict is a directory's answer about one password. It is an answer, never an error.
type Verdict struct {
	Reason Reason `json:"reason"`
	// Win32 is the Win32 error number (1326, 1330 …), 0 when the directory gave none or accepted.
	Win32 int `json:"win32,omitempty"`
	// Diagnostic is what the directory said, shortened and free of control characters ("data 52e"). Never shown to the person.
	Diagnostic string `json:"diagnostic,omitempty"`
	// Attributes of the user, only with Accepted and only when the check asked for them.
	Attributes *Attributes `json:"attributes,omitempty"`
}

// Attributes are what the service learns about a user from the directory at sign-in.
type Attributes struct {
	// Anchor is the objectGUID as a lower-case UUID string; it survives renames and moves.
	Anchor      string `json:"anchor"`
	UPN         string `json:"upn"`
	DisplayName string `json:"display_name,omitempty"`
	GivenName   string `json:"given_name,omitempty"`
	FamilyName  string `json:"family_name,omitempty"`
	Email       string `json:"email,omitempty"`
	// SignInName is the value of the attribute by which the check asked for the name to be looked up; empty if it did not, or there is none.
	SignInName string `json:"sign_in_name,omitempty"`
	// Groups are the names (CN) of the groups that list the user as a direct member.
	Groups []string `json:"groups,omitempty"`
}

// Trouble says that nobody judged the password, and why.
type Trouble struct {
	Code Code `json:"code"`
	// Fenced is true when the directory may have counted the attempt.
	Fenced bool `json:"fenced,omitempty"`
	// Detail is for administrators: a cause in words, without secrets.
	Detail string `json:"detail,omitempty"`
}

// Answer is what an agent sends back, sealed: exactly one of Verdict and Trouble is set.
type Answer struct {
	Verdict *Verdict `json:"verdict,omitempty"`
	Trouble *Trouble `json:"trouble,omitempty"`
	// DC is the domain controller that was asked ("dc1.corp.example:636"), empty if none was reached.
	DC string `json:"dc,omitempty"`
	// Opened, Fenced and Judged are how long after the arrival of the envelope each happened, zero if it did not.
	Opened time.Duration `json:"opened_ns,omitempty"`
	Fenced time.Duration `json:"fenced_ns,omitempty"`
	Judged time.Duration `json:"judged_ns,omitempty"`
}
