package ldap

import (
	"testing"
	"time"
)

func TestInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"-18000000000":         30 * time.Minute,
		"-10000000":            time.Second,
		"0":                    0,
		"-9223372036854775808": 0, // for ever
		"18000000000":          0,
		"":                     0,
		"soon":                 0,
	} {
		if got := interval(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
