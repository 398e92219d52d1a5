package wire

import (
	"bytes"
	"strings"
	"testing"
)

func TestKeysFingerprint(t *testing.T) {
	one := KeysFingerprint([]byte("a"), 1, []byte("b"))
	if len(one) != 39 || strings.Count(one, " ") != 7 {
		t.Errorf("%q", one)
	}
	for _, other := range []string{KeysFingerprint([]byte("a"), 2, []byte("b")), KeysFingerprint([]byte("ab"), 1, nil), KeysFingerprint([]byte("b"), 1, []byte("a"))} {
		if other == one {
			t.Errorf("two different pairs of keys have %q", one)
		}
	}
}

func TestDeviceAnswerIsFitForATerminal(t *testing.T) {
	good := DeviceAnswer{DeviceCode: "s", UserCode: "WDJB-MJHT", VerificationURI: "https://x/r", VerificationURIComplete: "https://x/r/code/WDJB-MJHT", ExpiresIn: 900, Interval: 5}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*DeviceAnswer){
		"escape":       func(a *DeviceAnswer) { a.UserCode = "\x1b[2J" },
		"http":         func(a *DeviceAnswer) { a.VerificationURI = "http://x/r" },
		"another host": func(a *DeviceAnswer) { a.VerificationURIComplete = "https://y/" },
		"no secret":    func(a *DeviceAnswer) { a.DeviceCode = "" },
		"no time":      func(a *DeviceAnswer) { a.ExpiresIn = 0 },
	} {
		bad := good
		change(&bad)
		if bad.Validate() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// FuzzDevice: documents of strangers are refused or usable, and never more than their limits.
func FuzzDevice(f *testing.F) {
	f.Add([]byte(`{"device_code":"x"}`))
	f.Add([]byte(`{"error":"slow_down","interval":10}`))
	f.Add([]byte(`{"device_code":"s","user_code":"WDJB-MJHT","verification_uri":"https://x","verification_uri_complete":"https://x/c","expires_in":900,"interval":5}`))
	f.Add([]byte(`{"tenant":"contoso","name":"a","csr":"x","envelope_suite":1,"envelope_key":"AA=="}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := DecodeDevicePoll(bytes.NewReader(b)); err == nil && (v.DeviceCode == "" || len(v.DeviceCode) > MaxRegisterToken) {
			t.Error(v)
		}
		if v, err := DecodeDeviceError(bytes.NewReader(b)); err == nil && (v.Error == "" || v.Interval < 0) {
			t.Error(v)
		}
		if v, err := DecodeDeviceAnswer(bytes.NewReader(b)); err == nil && v.Validate() != nil {
			t.Error(v)
		}
		if v, err := DecodeDeviceRequest(bytes.NewReader(b)); err == nil && (v.Token != "" || v.Former != nil) {
			t.Error(v)
		}
	})
}
