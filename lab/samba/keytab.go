package samba

import (
	"context"
	"crypto/rand"
	"fmt"
	"os/exec"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// Keytab creates a computer account of this name ("agent1") with the service principal host/agent1.corp.example.com, and writes its key
// to file, as an administrator does for a host that is no Windows.
func (dc *DC) Keytab(ctx context.Context, host, file string) (principal string, err error) {
	principal = "host/" + strings.ToLower(host) + "." + dc.UPNSuffix
	add := ldap.NewAddRequest("CN="+ldap.EscapeDN(host)+",CN=Computers,"+dc.BaseDN, nil)
	for _, a := range [][2]string{{"objectClass", "computer"}, {"sAMAccountName", strings.ToUpper(host) + "$"}, {"userAccountControl", "4096"},
		{"servicePrincipalName", principal}, {"msDS-SupportedEncryptionTypes", "24"}, {"unicodePwd", Quoted([]byte("Aa1-" + rand.Text()))}} {
		add.Attribute(a[0], []string{a[1]})
	}
	if err := dc.as(ctx, func(s *Session) error { return s.Add(add) }); err != nil {
		return "", fmt.Errorf("samba: creating the computer %s: %w", host, err)
	}
	cmd := exec.CommandContext(ctx, "samba-tool", "domain", "exportkeytab", file, "--principal="+principal, "-s", settingsFile(dc.dir))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("samba-tool domain exportkeytab: %w: %s", err, tail(out))
	}
	return principal, nil
}
