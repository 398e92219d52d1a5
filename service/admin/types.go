package admin

import (
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

// The JSON of the API. Times are RFC 3339 in UTC; a zero time is left out.

// Tenant is a customer organisation.
type Tenant struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	DisplayName string    `json:"display_name"`
	Color       string    `json:"color"`
	Issuer      string    `json:"issuer"`
	Created     time.Time `json:"created"`
	Changed     time.Time `json:"changed"`
}

// TenantInput creates or, with the fields that are set, changes a tenant. Name cannot change: issuers hold it.
type TenantInput struct {
	Name        string  `json:"name,omitempty"`
	DisplayName *string `json:"display_name,omitempty"`
	Color       *string `json:"color,omitempty"`
}

// Verification is when a second agent, on another host, has to confirm a right password: always for people with a role in this service and
// for members of groups, and for a share of all others.
type Verification struct {
	Administrators bool     `json:"administrators"`
	Groups         []string `json:"groups"`
	Percent        int      `json:"percent"`
	LetInAlone     bool     `json:"let_in_alone"`
}

// AgentKeys is where the tenant's agents have to keep their private keys: "file" (anywhere) or "hardware".
type AgentKeys struct {
	Require string `json:"require"`
}

// Directory is an AD forest or domain that the tenant has connected.
type Directory struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	Evaluation bool      `json:"evaluation"`
	Created    time.Time `json:"created"`
	Changed    time.Time `json:"changed"`
	// Lockout is the strictest policy that an agent of the directory reported; nil in lists, and while none did.
	Lockout *DirectoryPolicy `json:"lockout,omitempty"`
}

// DirectoryProof is the domain that a directory is, as its first agent showed it.
type DirectoryProof struct {
	NamingContext string `json:"naming_context"`
	Forest        string `json:"forest,omitempty"`
	DomainGUID    string `json:"domain_guid,omitempty"`
	DomainSID     string `json:"domain_sid,omitempty"`
	// DC is the domain controller that said so, Agent the id of the agent that asked it.
	DC    string    `json:"dc,omitempty"`
	Agent string    `json:"agent"`
	Since time.Time `json:"since"`
}

// DirectoryInput creates or renames a directory. Evaluation marks it as not a real one, for good.
type DirectoryInput struct {
	Name       string `json:"name"`
	Evaluation bool   `json:"evaluation,omitempty"`
}

// Canary is what the agents of a directory are probed with: accounts as people type them, the first one's password perhaps kept.
type Canary struct {
	Names       []string  `json:"names"`
	HasPassword bool      `json:"has_password"`
	Changed     time.Time `json:"changed"`
}

// Domain is a DNS suffix and how its users' passwords are checked: kind "pass-through" (by Directory) or "cloud".
type Domain struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"`
	Directory  string `json:"directory,omitempty"`
	AdmitUsers bool   `json:"admit_users"`
	// SignInAttribute is what names of the domain may be values of besides user principal names; NetBIOSName lets people type CORP\ada.
	SignInAttribute string    `json:"sign_in_attribute,omitempty"`
	NetBIOSName     string    `json:"netbios_name,omitempty"`
	Created         time.Time `json:"created"`
	Changed         time.Time `json:"changed"`
}

// DomainInput creates or changes a domain. Directory may be an id or a name.
type DomainInput struct {
	Name       string  `json:"name,omitempty"`
	Kind       *string `json:"kind,omitempty"`
	Directory  *string `json:"directory,omitempty"`
	AdmitUsers *bool   `json:"admit_users,omitempty"`
	// Empty for none.
	SignInAttribute *string `json:"sign_in_attribute,omitempty"`
	NetBIOSName     *string `json:"netbios_name,omitempty"`
}

// User is a person.
type User struct {
	ID          string    `json:"id"`
	UPN         string    `json:"upn"`
	Source      string    `json:"source"`
	Directory   string    `json:"directory,omitempty"`
	Anchor      string    `json:"anchor,omitempty"`
	DisplayName string    `json:"display_name,omitempty"`
	GivenName   string    `json:"given_name,omitempty"`
	FamilyName  string    `json:"family_name,omitempty"`
	Email       string    `json:"email,omitempty"`
	SignInName  string    `json:"sign_in_name,omitempty"`
	Groups      []string  `json:"groups,omitempty"`
	Role        string    `json:"role,omitempty"`
	Disabled    bool      `json:"disabled"`
	Created     time.Time `json:"created"`
	Changed     time.Time `json:"changed"`
}

// UserInput creates or changes a user. Source and Directory are for creation alone; without them the domain of the name decides. A
// cloud-only user's password is a request of its own: PUT …/password.
type UserInput struct {
	UPN         string    `json:"upn,omitempty"`
	Source      string    `json:"source,omitempty"`
	Directory   string    `json:"directory,omitempty"`
	DisplayName *string   `json:"display_name,omitempty"`
	GivenName   *string   `json:"given_name,omitempty"`
	FamilyName  *string   `json:"family_name,omitempty"`
	Email       *string   `json:"email,omitempty"`
	Groups      *[]string `json:"groups,omitempty"`
	Role        *string   `json:"role,omitempty"`
	Disabled    *bool     `json:"disabled,omitempty"`
}

// App is a registered application. Secret is set only in the answer that made it.
type App struct {
	ID             string    `json:"id"`
	Name           string    `json:"name"`
	RedirectURIs   []string  `json:"redirect_uris"`
	PostLogoutURIs []string  `json:"post_logout_uris,omitempty"`
	Public         bool      `json:"public"`
	Algorithm      string    `json:"algorithm"`
	GroupClaims    bool      `json:"group_claims"`
	Disabled       bool      `json:"disabled"`
	Secret         string    `json:"secret,omitempty"`
	Created        time.Time `json:"created"`
	Changed        time.Time `json:"changed"`
}

// AppInput creates or changes an app.
type AppInput struct {
	Name           *string   `json:"name,omitempty"`
	RedirectURIs   *[]string `json:"redirect_uris,omitempty"`
	PostLogoutURIs *[]string `json:"post_logout_uris,omitempty"`
	Public         bool      `json:"public,omitempty"`
	Algorithm      *string   `json:"algorithm,omitempty"`
	GroupClaims    *bool     `json:"group_claims,omitempty"`
	Disabled       *bool     `json:"disabled,omitempty"`
}

// Agent is a member of the fleet. Connected tells whether a gateway of the answering process holds its stream or, where several
// processes share the work, whether any gateway has seen it in the last two and a half minutes.
// KeyStoreRefused tells that its keys are not where the tenant demands: its next renewal will be refused.
type Agent struct {
	ID                  string    `json:"id"`
	Name                string    `json:"name"`
	Directory           string    `json:"directory"`
	Host                string    `json:"host"`
	OS                  string    `json:"os"`
	Version             string    `json:"version"`
	State               string    `json:"state"`
	StateReason         string    `json:"state_reason,omitempty"`
	Connected           bool      `json:"connected"`
	KeyID               string    `json:"key_id"`
	CertificateSerial   string    `json:"certificate_serial"`
	CertificateNotAfter time.Time `json:"certificate_not_after"`
	KeyStore            string    `json:"key_store"`
	KeyStoreRefused     bool      `json:"key_store_refused"`
	Renewed             time.Time `json:"renewed,omitzero"`
	Renewing            bool      `json:"renewing"`
	RenewAfter          time.Time `json:"renew_after,omitzero"`
	ClockSkewMS         int64     `json:"clock_skew_ms"`
	Address             string    `json:"address,omitempty"`
	LastSeen            time.Time `json:"last_seen,omitzero"`
	RevokedAt           time.Time `json:"revoked_at,omitzero"`
	RevokedReason       string    `json:"revoked_reason,omitempty"`
	Fingerprint         string    `json:"fingerprint,omitempty"`
	VouchedBy           string    `json:"vouched_by,omitempty"`
	Created             time.Time `json:"created"`
	// Condition is how the agent does, with the reason and since when: its state where that is not "active" or "drained", else
	// "active", "degraded", "draining", "drained" or "inactive".
	Condition       string       `json:"condition"`
	ConditionReason string       `json:"condition_reason,omitempty"`
	ConditionSince  time.Time    `json:"condition_since,omitzero"`
	Health          *AgentHealth `json:"health,omitempty"`
	Probe           *AgentProbe  `json:"probe,omitempty"`
}

// AgentProbe is how the newest probe of an agent with its directory's canary went: Code is 0 when nothing was wrong.
type AgentProbe struct {
	At     time.Time `json:"at"`
	Micros int64     `json:"us"`
	Code   wire.Code `json:"code"`
	Detail string    `json:"detail,omitempty"`
}

// AgentHealth is what an agent said of itself with its newest heartbeat that was written down, at most a minute old while it has a
// stream; zero for what it does not tell.
type AgentHealth struct {
	At            time.Time          `json:"at"`
	UptimeSeconds int64              `json:"uptime_seconds,omitempty"`
	Slots         int                `json:"slots,omitempty"`
	InFlight      int                `json:"in_flight"`
	Servers       []DomainController `json:"domain_controllers,omitempty"`
	LastError     string             `json:"last_error,omitempty"`
	LastErrorAt   time.Time          `json:"last_error_at,omitzero"`
	Guard         *AgentGuard        `json:"lockout_guard,omitempty"`
}

// AgentGuard is how an agent's lockout guard stands: "off" (no reader account), "untried", "reading", "partial" or "refused". Directory is what it
// read of the directory's policy, Missing what it may not read.
type AgentGuard struct {
	State     string           `json:"state"`
	Reserve   int              `json:"reserve,omitempty"`
	Directory *DirectoryPolicy `json:"directory,omitempty"`
	Missing   []string         `json:"missing,omitempty"`
}

// DirectoryPolicy is a directory's account lockout as an agent read it: after how many wrong passwords the domain locks, the fewest after which
// anything in it does, and where those stand. 0 never locks, and a duration of 0 lasts until somebody unlocks. Warning says what is wrong beside
// the service's own threshold.
type DirectoryPolicy struct {
	Threshold        int    `json:"threshold"`
	WindowSeconds    int64  `json:"window_seconds,omitempty"`
	DurationSeconds  int64  `json:"duration_seconds,omitempty"`
	Strictest        int    `json:"strictest"`
	StrictestOf      string `json:"strictest_of,omitempty"`
	Objects          int    `json:"password_settings_objects,omitempty"`
	ServiceThreshold int    `json:"service_threshold"`
	Warning          string `json:"warning,omitempty"`
}

// DomainController is how one stands, seen by an agent: "serving", "down" or "untried", with the median of its newest answers.
type DomainController struct {
	Address        string `json:"address"`
	State          string `json:"state"`
	MedianMicrosec int64  `json:"median_us,omitempty"`
}

// AgentInput renames an agent.
type AgentInput struct {
	Name string `json:"name"`
}

// RenewInput spreads an ordered renewal: each agent's begins at a moment of its own within so many seconds; 0 means at once.
type RenewInput struct {
	SpreadSeconds int `json:"spread_seconds,omitempty"`
}

// RenewOrder says how many agents were told to renew.
type RenewOrder struct {
	Ordered int `json:"ordered"`
}

// AgentMoment is one line of an agent's history.
type AgentMoment struct {
	At     time.Time `json:"at"`
	Event  string    `json:"event"`
	Detail string    `json:"detail,omitempty"`
}

// ApproveInput says which keys of an agent were compared; empty lets any in.
type ApproveInput struct {
	Fingerprint string `json:"fingerprint,omitempty"`
}

// RevokeInput says why an agent is revoked.
type RevokeInput struct {
	Reason string `json:"reason"`
}

// AgentToken is a one-time (or few-times) enrolment token. Secret is set only in the answer that made it.
type AgentToken struct {
	ID        string    `json:"id"`
	Directory string    `json:"directory"`
	Note      string    `json:"note,omitempty"`
	UsesLeft  int       `json:"uses_left"`
	Host      string    `json:"host,omitempty"`
	Networks  []string  `json:"networks,omitempty"`
	Expires   time.Time `json:"expires"`
	Secret    string    `json:"secret,omitempty"`
	Created   time.Time `json:"created"`
}

// AgentTokenInput makes an enrolment token. Uses 0 means 1; LifeSeconds 0 means a day. Host is a pattern of host names with * and ?,
// Networks are addresses and networks; empty: any.
type AgentTokenInput struct {
	Directory   string   `json:"directory"`
	Note        string   `json:"note,omitempty"`
	Uses        int      `json:"uses,omitempty"`
	LifeSeconds int      `json:"life_seconds,omitempty"`
	Host        string   `json:"host,omitempty"`
	Networks    []string `json:"networks,omitempty"`
}

// Registration is whether an administrator has to approve agents that register: "none", "needed" or "second".
type Registration struct {
	Approval string `json:"approval"`
}

// AdminToken is a token for this API: of the whole installation, or of one tenant. Secret is set only in the answer that made it.
type AdminToken struct {
	ID      string    `json:"id"`
	Tenant  string    `json:"tenant,omitempty"`
	Note    string    `json:"note,omitempty"`
	Expires time.Time `json:"expires"`
	Secret  string    `json:"secret,omitempty"`
	Created time.Time `json:"created"`
}

// AdminTokenInput makes a token for this API. Without a Tenant (name or id) it is good for the whole installation; LifeSeconds 0
// means a year.
type AdminTokenInput struct {
	Tenant      string `json:"tenant,omitempty"`
	Note        string `json:"note,omitempty"`
	LifeSeconds int    `json:"life_seconds,omitempty"`
}

// SignIn is one record of the sign-in log. AgentName is the agent's name today, empty for one that is gone.
type SignIn struct {
	ID         string    `json:"id"`
	At         time.Time `json:"at"`
	Trace      string    `json:"trace"`
	Name       string    `json:"name"`
	NameForm   string    `json:"name_form,omitempty"`
	User       string    `json:"user,omitempty"`
	App        string    `json:"app,omitempty"`
	Address    string    `json:"address,omitempty"`
	Outcome    string    `json:"outcome"`
	Code       wire.Code `json:"code"`
	Reason     string    `json:"reason,omitempty"`
	Diagnostic string    `json:"diagnostic,omitempty"`
	Directory  string    `json:"directory,omitempty"`
	Agent      string    `json:"agent,omitempty"`
	AgentName  string    `json:"agent_name,omitempty"`
	Gateway    string    `json:"gateway,omitempty"`
	DC         string    `json:"dc,omitempty"`
	Stops      []Stop    `json:"stops,omitempty"`
}

// Stop is a place on the path of a sign-in and when it was reached, in microseconds since the password was posted.
type Stop struct {
	Name   string `json:"name"`
	Micros int64  `json:"us"`
}

// LogEntry is an entry of the registration log. Entry, written without spaces, is what is hashed; Chain is the hash that ties it to all
// before it, in hexadecimal.
type LogEntry struct {
	Chain string    `json:"chain"`
	Entry LogChange `json:"entry"`
}

// LogChange is one change of the fleet or of a policy. The order of its members is that of their hash.
type LogChange struct {
	Index int64    `json:"index"`
	Time  string   `json:"time"`
	Event string   `json:"event"`
	Actor LogActor `json:"actor"`

	Agent       string `json:"agent,omitempty"`
	AgentName   string `json:"agent_name,omitempty"`
	Directory   string `json:"directory,omitempty"`
	Serial      string `json:"certificate_serial,omitempty"`
	Certificate string `json:"certificate_sha256,omitempty"`
	KeyID       string `json:"key_id,omitempty"`
	Token       string `json:"token,omitempty"`
	Detail      string `json:"detail,omitempty"`
}

// LogActor is who made a change: an admin-token, an enrolment-token, an agent, or the service by itself.
type LogActor struct {
	Kind string `json:"kind"`
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
}

// LogProof shows that an entry is under a checkpoint: its audit path (RFC 6962 §2.1.1), each hash in base64.
type LogProof struct {
	Chain      string    `json:"chain"`
	Entry      LogChange `json:"entry"`
	Proof      []string  `json:"proof"`
	Checkpoint string    `json:"checkpoint"`
}

// LogCheckpoint is the newest signed checkpoint of a tenant's registration log, and the key that verifies it.
type LogCheckpoint struct {
	Log        string `json:"log"`
	Size       int64  `json:"size"`
	Root       string `json:"root"`
	Key        string `json:"key"`
	Checkpoint string `json:"checkpoint"`
}

// Page is one page of a list; Next, when not empty, is the "after" of the following page.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}
