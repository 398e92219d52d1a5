package agent_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sallyport-auth/sallyport/agent"
	"github.com/sallyport-auth/sallyport/agent/directory/kerberos"
)

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		asked            agent.Kind
		keytab, unproven bool
		want             agent.Kind
		says             string
	}{
		{agent.Auto, false, false, agent.LDAP, "no keytab"},
		{"", false, false, agent.LDAP, "no keytab"},
		{agent.Auto, true, false, agent.Kerberos, "there is a keytab"},
		{agent.LDAP, false, false, agent.LDAP, "ask for it"},
		{agent.Kerberos, true, false, agent.Kerberos, "ask for it"},
		{agent.Kerberos, false, true, agent.Kerberos, "WITHOUT PROOF"},
		// Refused: nothing that would prove a KDC, and settings that contradict each other.
		{agent.Kerberos, false, false, "", "--keytab"},
		{agent.Kerberos, true, true, "", "leave out"},
		{agent.Auto, false, true, "", "--validator kerberos"},
		{agent.Auto, true, true, "", "--validator kerberos"},
		{agent.LDAP, true, false, "", "ldap was asked for"},
		{agent.LDAP, false, true, "", "ldap was asked for"},
		{"ntlm", false, false, "", "ntlm"},
	} {
		got, err := agent.Choose(c.asked, c.keytab, c.unproven)
		said := got.Why
		if err != nil {
			said = err.Error()
		}
		if got.Kind != c.want || (err != nil) != (c.want == "") || err != nil && !errors.Is(err, agent.ErrConfig) || !strings.Contains(said, c.says) {
			t.Errorf("%q, keytab %v, unproven %v: %+v, %v", c.asked, c.keytab, c.unproven, got, err)
		}
	}
	if _, err := agent.Choose(agent.Kerberos, false, false); !errors.Is(err, kerberos.ErrUnproven) {
		t.Error(err)
	}
}
