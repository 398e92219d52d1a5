package agent

import (
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

func TestRenewPause(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		failures  int
		left      time.Duration
		low, high time.Duration
	}{
		{1, 10 * day, time.Second, 3 * time.Second},
		{4, 10 * day, time.Second, 17 * time.Second},
		{100, 10 * day, time.Second, 5*time.Minute + time.Second},
		{100, time.Hour, time.Second, 3*time.Minute + time.Second}, // a twentieth of what is left
		{100, 10 * time.Second, time.Second, 2 * time.Second},
		{100, -time.Hour, time.Second, 2 * time.Second},
	} {
		if low, high := renewPause(test.failures, test.left, 0), renewPause(test.failures, test.left, 1); low != test.low || high != test.high {
			t.Errorf("%d failures, %v left: %v to %v, want %v to %v", test.failures, test.left, low, high, test.low, test.high)
		}
	}
}

// TestRefusesCertificate: only what another certificate could cure makes the agent try another.
func TestRefusesCertificate(t *testing.T) {
	for code, want := range map[wire.Code]bool{wire.CertificateForeign: true, wire.CertificateSuperseded: true, wire.CertificateExpired: true,
		wire.EnvelopeUnreadable: true, wire.AgentRevoked: false, wire.AgentQuarantined: false, wire.IdentityOlder: false, wire.AgentUnknown: false} {
		if got := refusesCertificate(code); got != want {
			t.Errorf("%d: %v", code, got)
		}
	}
}
