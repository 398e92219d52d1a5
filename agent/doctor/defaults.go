package doctor

import "time"

const (
	// probeFor bounds one look at the service, the gateway or DNS; a person waits for it.
	probeFor = 10 * time.Second
	// windowsFor bounds the look at Windows, which may search long for a domain controller.
	windowsFor = 25 * time.Second

	// skewWarns is where a clock that drifts should be looked after. serviceSkewFails is where envelopes look expired or too far ahead
	// (they live for a minute and may be a minute ahead); directorySkewFails is where Kerberos ends (MS-KILE: five minutes).
	skewWarns          = 10 * time.Second
	serviceSkewFails   = time.Minute
	directorySkewFails = 5 * time.Minute

	// certificateWarns is how long before its end somebody should hear of a certificate that no program renews.
	certificateWarns = 14 * 24 * time.Hour

	// slowFrom is what a person at the sign-in page begins to notice.
	slowFrom = time.Second
)
