package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/sallyport-auth/sallyport/service/admin"
)

// Every noun has the verbs create, list, show, change and remove where they make sense; each is one call of the admin API.

type tenantCommand struct {
	Create tenantCreate `cmd:"" help:"Make a tenant."`
	List   tenantList   `cmd:"" help:"List tenants."`
	Show   tenantShow   `cmd:"" help:"Show a tenant."`
	Change tenantChange `cmd:"" help:"Change how a tenant shows itself."`
	Remove tenantRemove `cmd:"" help:"Remove a tenant and everything in it."`

	Verification verificationCommand `cmd:"" help:"When a second agent has to confirm a right password."`
	Keys         agentKeysCommand    `cmd:"" help:"Where agents have to keep their private keys."`
	Registration registrationCommand `cmd:"" help:"Whether an administrator has to approve agents that register."`
}

type tenantLook struct {
	DisplayName *string `help:"Name shown on the sign-in page."`
	Color       *string `placeholder:"#RRGGBB" help:"Colour of the sign-in page; white text must be readable on it."`
}

type tenantCreate struct {
	apiFlags
	tenantLook
	Name string `arg:"" help:"Name in addresses: 2 to 63 lower-case letters, digits and hyphens."`
}

func (c tenantCreate) Run(ctx context.Context, t *terminal) error {
	return call[admin.Tenant](ctx, t, c.apiFlags, http.MethodPost, admin.Path("tenants"),
		admin.TenantInput{Name: c.Name, DisplayName: c.DisplayName, Color: c.Color}, "")
}

type tenantList struct{ apiFlags }

func (c tenantList) Run(ctx context.Context, t *terminal) error {
	return list(ctx, t, c.apiFlags, admin.Path("tenants"), []column[admin.Tenant]{
		{"name", func(x admin.Tenant) string { return x.Name }}, {"display name", func(x admin.Tenant) string { return x.DisplayName }},
		{"issuer", func(x admin.Tenant) string { return x.Issuer }}, {"created", func(x admin.Tenant) string { return day(x.Created) }}})
}

type tenantName struct {
	apiFlags
	Tenant string `arg:"" help:"Tenant, by name or id."`
}

type tenantShow struct{ tenantName }

func (c tenantShow) Run(ctx context.Context, t *terminal) error {
	return call[admin.Tenant](ctx, t, c.apiFlags, http.MethodGet, admin.Path("tenants", c.Tenant), nil, "")
}

type tenantChange struct {
	tenantName
	tenantLook
}

func (c tenantChange) Run(ctx context.Context, t *terminal) error {
	return call[admin.Tenant](ctx, t, c.apiFlags, http.MethodPatch, admin.Path("tenants", c.Tenant),
		admin.TenantInput{DisplayName: c.DisplayName, Color: c.Color}, "")
}

type tenantRemove struct {
	tenantName
	Yes bool `help:"Do it: everything of the tenant is deleted for good."`
}

func (c tenantRemove) Run(ctx context.Context, t *terminal) error {
	if !c.Yes {
		return &usageError{fmt.Errorf("removing tenant %s deletes its users, apps, agents and logs for good. Repeat with --yes", c.Tenant)}
	}
	return call[struct{}](ctx, t, c.apiFlags, http.MethodDelete, admin.Path("tenants", c.Tenant), nil, "Tenant removed.")
}

type directoryCommand struct {
	Create directoryCreate `cmd:"" help:"Make a directory."`
	List   directoryList   `cmd:"" help:"List directories."`
	Show   directoryShow   `cmd:"" help:"Show a directory."`
	Proof  directoryProof  `cmd:"" help:"Show which domain a directory is: its agents must all prove that they serve it."`
	Unpin  directoryUnpin  `cmd:"" help:"Forget which domain a directory is, after the domain was built anew. The next agent's proof decides it."`
	Change directoryChange `cmd:"" help:"Rename a directory."`
	Remove directoryRemove `cmd:"" help:"Remove a directory that no domain, user or agent uses."`
	Canary canaryCommand   `cmd:"" help:"Accounts with which the directory's agents are probed."`
}

type directoryCreate struct {
	tenantFlags
	Name       string `arg:"" help:"Name, for example corp."`
	Evaluation bool   `help:"Mark it as an evaluation directory, for good."`
}

func (c directoryCreate) Run(ctx context.Context, t *terminal) error {
	return call[admin.Directory](ctx, t, c.apiFlags, http.MethodPost, c.path("directories"),
		admin.DirectoryInput{Name: c.Name, Evaluation: c.Evaluation}, "")
}

type directoryList struct{ tenantFlags }

func (c directoryList) Run(ctx context.Context, t *terminal) error {
	return list(ctx, t, c.apiFlags, c.path("directories"), []column[admin.Directory]{
		{"name", func(x admin.Directory) string { return x.Name }}, {"evaluation", func(x admin.Directory) string { return yes(x.Evaluation) }},
		{"id", func(x admin.Directory) string { return x.ID }}, {"created", func(x admin.Directory) string { return day(x.Created) }}})
}

type directoryName struct {
	tenantFlags
	Directory string `arg:"" help:"Directory, by name or id."`
}

type directoryShow struct{ directoryName }

func (c directoryShow) Run(ctx context.Context, t *terminal) error {
	return call[admin.Directory](ctx, t, c.apiFlags, http.MethodGet, c.path("directories", c.Directory), nil, "")
}

type directoryProof struct{ directoryName }

func (c directoryProof) Run(ctx context.Context, t *terminal) error {
	return call[admin.DirectoryProof](ctx, t, c.apiFlags, http.MethodGet, c.path("directories", c.Directory, "proof"), nil, "")
}

type directoryUnpin struct{ directoryName }

func (c directoryUnpin) Run(ctx context.Context, t *terminal) error {
	return call[struct{}](ctx, t, c.apiFlags, http.MethodDelete, c.path("directories", c.Directory, "proof"), nil,
		"Forgotten. The next agent that shows a domain decides which one the directory is: first stop agents that still ask the old one.")
}

type directoryChange struct {
	directoryName
	Name string `required:"" help:"New name."`
}

func (c directoryChange) Run(ctx context.Context, t *terminal) error {
	return call[admin.Directory](ctx, t, c.apiFlags, http.MethodPatch, c.path("directories", c.Directory), admin.DirectoryInput{Name: c.Name}, "")
}

type directoryRemove struct{ directoryName }

func (c directoryRemove) Run(ctx context.Context, t *terminal) error {
	return call[struct{}](ctx, t, c.apiFlags, http.MethodDelete, c.path("directories", c.Directory), nil, "Directory removed.")
}

type domainCommand struct {
	Create domainCreate `cmd:"" help:"Add a domain."`
	List   domainList   `cmd:"" help:"List domains."`
	Show   domainShow   `cmd:"" help:"Show a domain."`
	Change domainChange `cmd:"" help:"Change how a domain's users sign in."`
	Remove domainRemove `cmd:"" help:"Remove a domain."`
}

type domainWay struct {
	Kind            *string `enum:"pass-through,cloud" help:"pass-through (a directory checks passwords) or cloud."`
	Directory       *string `help:"Directory that checks the passwords, by name or id."`
	AdmitUsers      *bool   `negatable:"" help:"Let people whom the directory accepts appear as users at their first sign-in."`
	SignInAttribute *string `help:"Attribute of the directory, such as mail, that names of the domain may be values of besides user principal names; empty for none. Agents need a reader account for it." placeholder:"NAME"`
	NetBIOSName     *string `name:"netbios-name" help:"The domain's NetBIOS name: people may type CORP\\ada, too; empty for none." placeholder:"NAME"`
}

type domainCreate struct {
	tenantFlags
	domainWay
	Name string `arg:"" help:"DNS name, for example corp.example."`
}

func (c domainCreate) Run(ctx context.Context, t *terminal) error {
	return call[admin.Domain](ctx, t, c.apiFlags, http.MethodPost, c.path("domains"),
		admin.DomainInput{Name: c.Name, Kind: c.Kind, Directory: c.Directory, AdmitUsers: c.AdmitUsers, SignInAttribute: c.SignInAttribute, NetBIOSName: c.NetBIOSName}, "")
}

type domainList struct{ tenantFlags }

func (c domainList) Run(ctx context.Context, t *terminal) error {
	directories, err := c.directories(ctx)
	if err != nil {
		return err
	}
	return list(ctx, t, c.apiFlags, c.path("domains"), []column[admin.Domain]{
		{"name", func(x admin.Domain) string { return x.Name }}, {"kind", func(x admin.Domain) string { return x.Kind }},
		{"directory", func(x admin.Domain) string { return directories[x.Directory] }}, {"admits users", func(x admin.Domain) string { return yes(x.AdmitUsers) }},
		{"names", func(x admin.Domain) string { return namesOf(x) }}})
}

// namesOf says which forms of a name people of a domain may type.
func namesOf(d admin.Domain) string {
	forms := []string{"ada@" + d.Name}
	if d.SignInAttribute != "" {
		forms[0] += " (UPN or " + d.SignInAttribute + ")"
	}
	if d.NetBIOSName != "" {
		forms = append(forms, d.NetBIOSName+`\ada`)
	}
	return strings.Join(forms, ", ")
}

type domainName struct {
	tenantFlags
	Domain string `arg:"" help:"Domain."`
}

type domainShow struct{ domainName }

func (c domainShow) Run(ctx context.Context, t *terminal) error {
	return call[admin.Domain](ctx, t, c.apiFlags, http.MethodGet, c.path("domains", c.Domain), nil, "")
}

type domainChange struct {
	domainName
	domainWay
}

func (c domainChange) Run(ctx context.Context, t *terminal) error {
	return call[admin.Domain](ctx, t, c.apiFlags, http.MethodPatch, c.path("domains", c.Domain),
		admin.DomainInput{Kind: c.Kind, Directory: c.domainWay.Directory, AdmitUsers: c.AdmitUsers, SignInAttribute: c.SignInAttribute, NetBIOSName: c.NetBIOSName}, "")
}

type domainRemove struct{ domainName }

func (c domainRemove) Run(ctx context.Context, t *terminal) error {
	return call[struct{}](ctx, t, c.apiFlags, http.MethodDelete, c.path("domains", c.Domain), nil, "Domain removed.")
}

type userCommand struct {
	Create      userCreate   `cmd:"" help:"Make a user."`
	List        userList     `cmd:"" help:"List users."`
	Show        userShow     `cmd:"" help:"Show a user."`
	Change      userChange   `cmd:"" help:"Change a user."`
	SetPassword userPassword `cmd:"" help:"Give a cloud-only user a password."`
	Unlock      userUnlock   `cmd:"" help:"End this service's lockout of a user (not the directory's)."`
	SignOut     userSignOut  `cmd:"" help:"End all sessions and tokens of a user, on all devices."`
	Remove      userRemove   `cmd:"" help:"Remove a user, with sessions and grants."`
}

type userFields struct {
	DisplayName *string `help:"Name for people."`
	GivenName   *string `help:"Given name."`
	FamilyName  *string `help:"Family name."`
	Email       *string `help:"E-mail address."`
	Group       words   `placeholder:"NAME" help:"Group name; repeat for several, give an empty one for none."`
	Role        *string `enum:"administrator,none" help:"administrator or none."`
	Disabled    *bool   `negatable:"" help:"May not sign in."`
}

// input maps the flags to the API; role none is the empty role.
func (f userFields) input() admin.UserInput {
	if f.Role != nil && *f.Role == "none" {
		f.Role = new(string)
	}
	return admin.UserInput{DisplayName: f.DisplayName, GivenName: f.GivenName, FamilyName: f.FamilyName, Email: f.Email,
		Groups: f.Group.given(), Role: f.Role, Disabled: f.Disabled}
}

type userCreate struct {
	tenantFlags
	userFields
	UPN       string `arg:"" name:"name" help:"Sign-in name (UPN), for example alice@corp.example."`
	Directory string `help:"Directory that checks the password; by default the one of the name's domain, none in a cloud domain."`
}

func (c userCreate) Run(ctx context.Context, t *terminal) error {
	in := c.input()
	in.UPN, in.Directory = c.UPN, c.Directory
	return call[admin.User](ctx, t, c.apiFlags, http.MethodPost, c.path("users"), in, "")
}

type userList struct{ tenantFlags }

func (c userList) Run(ctx context.Context, t *terminal) error {
	return list(ctx, t, c.apiFlags, c.path("users"), []column[admin.User]{
		{"name", func(x admin.User) string { return x.UPN }}, {"display name", func(x admin.User) string { return x.DisplayName }},
		{"source", func(x admin.User) string { return x.Source }}, {"role", func(x admin.User) string { return x.Role }},
		{"disabled", func(x admin.User) string { return yes(x.Disabled) }}, {"created", func(x admin.User) string { return day(x.Created) }}})
}

type userName struct {
	tenantFlags
	User string `arg:"" help:"User, by sign-in name or id."`
}

type userShow struct{ userName }

func (c userShow) Run(ctx context.Context, t *terminal) error {
	return call[admin.User](ctx, t, c.apiFlags, http.MethodGet, c.path("users", c.User), nil, "")
}

type userChange struct {
	userName
	userFields
	UPN string `name:"name" help:"New sign-in name."`
}

func (c userChange) Run(ctx context.Context, t *terminal) error {
	in := c.input()
	in.UPN = c.UPN
	return call[admin.User](ctx, t, c.apiFlags, http.MethodPatch, c.path("users", c.User), in, "")
}

type userPassword struct {
	userName
	PasswordFile string `required:"" placeholder:"FILE" help:"File whose first line is the password; - for standard input."`
}

func (c userPassword) Run(ctx context.Context, t *terminal) error {
	secret, err := readSecret(c.PasswordFile, t.in)
	if err != nil {
		return err
	}
	defer secret.Wipe()
	body, err := json.Marshal(map[string]string{"password": string(secret.Reveal())})
	if err != nil {
		return err
	}
	return call[struct{}](ctx, t, c.apiFlags, http.MethodPut, c.path("users", c.User, "password"), json.RawMessage(body), "Password set.")
}

type userUnlock struct{ userName }

func (c userUnlock) Run(ctx context.Context, t *terminal) error {
	return call[struct{}](ctx, t, c.apiFlags, http.MethodPost, c.path("users", c.User, "unlock"), nil, "Lockout ended.")
}

type userSignOut struct{ userName }

func (c userSignOut) Run(ctx context.Context, t *terminal) error {
	return call[struct{}](ctx, t, c.apiFlags, http.MethodPost, c.path("users", c.User, "sign-out"), nil, "Signed out everywhere.")
}

type userRemove struct{ userName }

func (c userRemove) Run(ctx context.Context, t *terminal) error {
	return call[struct{}](ctx, t, c.apiFlags, http.MethodDelete, c.path("users", c.User), nil, "User removed.")
}

type appCommand struct {
	Create appCreate `cmd:"" help:"Register an application."`
	List   appList   `cmd:"" help:"List applications."`
	Show   appShow   `cmd:"" help:"Show an application."`
	Change appChange `cmd:"" help:"Change an application."`
	Secret appSecret `cmd:"" help:"Give an application a new client secret; the old one ends at once."`
	Remove appRemove `cmd:"" help:"Remove an application with all its grants."`
}

type appFields struct {
	Redirect   words   `placeholder:"URI" help:"Redirect address, exactly as the application sends it; repeat for several."`
	PostLogout words   `placeholder:"URI" help:"Address to return to after sign-out; repeat for several, give an empty one for none."`
	Algorithm  *string `enum:"ES256,RS256" help:"Signature of its tokens: ES256, or RS256 for clients that know no other."`
	Groups     *bool   `negatable:"" help:"Put the user's groups into its tokens."`
}

type appCreate struct {
	tenantFlags
	appFields
	secretFile
	Name   string `arg:"" help:"Name for people."`
	Public bool   `help:"Has no secret (browser or mobile application)."`
}

func (c appCreate) Run(ctx context.Context, t *terminal) error {
	return c.made(ctx, t, c.tenantFlags, http.MethodPost, c.path("apps"), admin.AppInput{Name: &c.Name, Public: c.Public,
		RedirectURIs: c.Redirect.given(), PostLogoutURIs: c.PostLogout.given(), Algorithm: c.Algorithm, GroupClaims: c.Groups})
}

// made sends a request whose answer is an application with a secret.
func (f secretFile) made(ctx context.Context, t *terminal, flags tenantFlags, method, path string, in any) error {
	return callSecret(ctx, t, flags.apiFlags, f.SecretFile, method, path, in, func(x *admin.App) *string { return &x.Secret })
}

type appList struct{ tenantFlags }

func (c appList) Run(ctx context.Context, t *terminal) error {
	return list(ctx, t, c.apiFlags, c.path("apps"), []column[admin.App]{
		{"client id", func(x admin.App) string { return x.ID }}, {"name", func(x admin.App) string { return x.Name }},
		{"public", func(x admin.App) string { return yes(x.Public) }}, {"algorithm", func(x admin.App) string { return x.Algorithm }},
		{"redirects", func(x admin.App) string { return strings.Join(x.RedirectURIs, " ") }}})
}

type appID struct {
	tenantFlags
	App string `arg:"" help:"Application, by client id."`
}

type appShow struct{ appID }

func (c appShow) Run(ctx context.Context, t *terminal) error {
	return call[admin.App](ctx, t, c.apiFlags, http.MethodGet, c.path("apps", c.App), nil, "")
}

type appChange struct {
	appID
	appFields
	Name     *string `help:"Name for people."`
	Disabled *bool   `negatable:"" help:"May not sign anybody in."`
}

func (c appChange) Run(ctx context.Context, t *terminal) error {
	return call[admin.App](ctx, t, c.apiFlags, http.MethodPatch, c.path("apps", c.App), admin.AppInput{Name: c.Name, RedirectURIs: c.Redirect.given(),
		PostLogoutURIs: c.PostLogout.given(), Algorithm: c.Algorithm, GroupClaims: c.Groups, Disabled: c.Disabled}, "")
}

type appSecret struct {
	appID
	secretFile
}

func (c appSecret) Run(ctx context.Context, t *terminal) error {
	return c.made(ctx, t, c.tenantFlags, http.MethodPost, c.path("apps", c.App, "secret"), nil)
}

type appRemove struct{ appID }

func (c appRemove) Run(ctx context.Context, t *terminal) error {
	return call[struct{}](ctx, t, c.apiFlags, http.MethodDelete, c.path("apps", c.App), nil, "Application removed.")
}
