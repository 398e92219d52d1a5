package wire

import "strconv"

// Code is the number of something that can go wrong. Numbers below 90000 mean what they mean in Microsoft Entra (AADSTS),
// so that an administrator can look them up; ours begin at 90000 and never change their meaning: one that was given up (90013)
// is not used again. Zero means "nothing wrong".
type Code int

// The numbers. Their texts stand in [Catalogue].
const (
	InvalidPassword       Code = 50126
	UserNotFound          Code = 50034
	AccountLockedOut      Code = 50053
	AccountIsDisabled     Code = 50057
	NoSession             Code = 50058
	DirectoryPassword     Code = 50144 // expired or to be changed in the directory
	DomainUnknown         Code = 50128
	NoAgent               Code = 80001
	DirectoryTimeout      Code = 80002
	DirectoryUnusable     Code = 80003
	TransientNetwork      Code = 80005
	DirectoryUnreachable  Code = 80007
	EnvelopeUnreadable    Code = 80010
	OutsideLogonHours     Code = 80012
	ClockSkew             Code = 80013
	AgentTooSlow          Code = 80014
	Internal              Code = 90001
	BadRequest            Code = 90002
	JourneyUnknown        Code = 90003 // expired, finished, or of another browser
	CrossSite             Code = 90004
	TenantUnknown         Code = 90005
	AppUnknown            Code = 90006
	RedirectUnknown       Code = 90007
	TooManyRequests       Code = 90008
	NotFound              Code = 90009
	Conflict              Code = 90010
	Forbidden             Code = 90011
	Unauthenticated       Code = 90012
	LostAfterFence        Code = 90020 // the attempt may have counted; nobody knows the verdict
	AgentsBusy            Code = 90021
	AnswerForged          Code = 90022
	AgentRefused          Code = 90023
	VerdictsDisagree      Code = 90024 // a second agent says otherwise than the first
	YesUnconfirmed        Code = 90025 // no second agent could be asked
	EnvelopeStale         Code = 90030
	EnvelopeReplayed      Code = 90031
	EnvelopeForeign       Code = 90032
	AgentRateLimited      Code = 90033
	PasswordUnusable      Code = 90034 // empty, or holds NUL
	CertificateForeign    Code = 90040
	CertificateExpired    Code = 90041
	AgentRevoked          Code = 90042
	AgentUnknown          Code = 90043
	VersionUnsupported    Code = 90044
	EnrolTokenInvalid     Code = 90045
	EnrolRequestInvalid   Code = 90046
	GatewayDraining       Code = 90047
	AgentReplaced         Code = 90048
	AgentLimit            Code = 90049
	AccountRestrictedCode Code = 90050
	AccountExpiredCode    Code = 90051
	WorkstationRefused    Code = 90052
	IdentityUnproven      Code = 90053
	AgentQuarantined      Code = 90060 // two holders of one identity
	IdentityOlder         Code = 90061 // restored from a snapshot, or a copy
	CertificateSuperseded Code = 90062
	FormerUnproven        Code = 90063
	LogBroken             Code = 90070 // rows of the registration log do not continue what was signed
	LogExportFailed       Code = 90071
	HostTaken             Code = 90072 // a second agent on one host
	DirectoryForeign      Code = 90073 // an agent shows another domain than its directory's
	AgentPending          Code = 90080 // registered, and not approved yet
	EnrolHostRefused      Code = 90081
	EnrolAddressRefused   Code = 90082
	RegistrationDenied    Code = 90083
	RegistrationExpired   Code = 90084 // nobody approved the code in its time
	SecondNeeded          Code = 90085
	Undelivered           Code = 90086 // a notification
	CanaryAccepted        Code = 90090 // an agent says yes to a password that nobody has
	CanaryRefused         Code = 90091 // an agent says no to the right password of the canary
	Overloaded            Code = 90092 // turned away at once: the line is too long
	KeyStoreRefused       Code = 90100
	LockoutSpared         Code = 90110 // the attempt could have locked the account in the directory
	AccountProtected      Code = 90111 // never asked about, whatever the password
	LockoutMisordered     Code = 90112 // the directory locks before the service does
	ReaderRefused         Code = 90113 // the agent's account for looking
	NameAmbiguous         Code = 90114 // more than one account of the directory has the name
	NameNotLookedUp       Code = 90115 // the agent cannot look the other name up that the domain allows
	HostCredulous         Code = 90120 // Windows on the agent's host says yes to anybody
)

// String returns the decimal number.
func (c Code) String() string { return strconv.Itoa(int(c)) }

// Entry is what the catalogue says of one number.
type Entry struct {
	Code Code
	// Name is a short word for logs and programs: lower case, hyphens.
	Name string
	// Public may be shown to anybody: it says nothing of the account, the directory or the installation.
	Public string
	// Meaning tells an administrator what happened.
	Meaning string
	// Remedy tells an administrator what to do next.
	Remedy string
}

// Lookup finds the entry of a number; ok is false for numbers that we never use.
func Lookup(c Code) (e Entry, ok bool) {
	for _, e := range catalogue {
		if e.Code == c {
			return e, true
		}
	}
	return Entry{}, false
}

// Catalogue returns all entries in ascending order of their numbers. The slice is the caller's.
func Catalogue() []Entry { return append([]Entry(nil), catalogue[:]...) }
