package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// DevicePath is where an agent without a token asks for a code that an administrator approves (RFC 8628 §3.1): POST, JSON, over HTTPS,
// on the service's public listener. DevicePollPath is where it then asks for the outcome (RFC 8628 §3.4).
const (
	DevicePath     = "/agent/v1/register/device"
	DevicePollPath = "/agent/v1/register/device/poll"
)

// The errors of a poll (RFC 8628 §3.5).
const (
	DevicePending  = "authorization_pending"
	DeviceSlowDown = "slow_down"
	DeviceDenied   = "access_denied"
	DeviceExpired  = "expired_token"
)

// Limits of a code's documents, in bytes.
const (
	MaxDeviceTenant    = 63
	MaxDeviceDirectory = 128
	MaxDeviceAnswer    = 8 << 10
	MaxDevicePoll      = 1 << 10
)

// DeviceRequest asks for a code. It holds what a registration holds, but for the token: what the administrator approves is what is
// certified.
type DeviceRequest struct {
	RegisterRequest
	// Tenant is the tenant's name; empty where the service has only one.
	Tenant string `json:"tenant,omitempty"`
	// Directory is the name of the directory that the agent is to serve; empty leaves it to the administrator.
	Directory string `json:"directory,omitempty"`
}

// Validate reports the first member that is missing, too long or not printable text; the error wraps [ErrRegister].
func (r DeviceRequest) Validate() error {
	if r.Former != nil {
		return fmt.Errorf("%w: coming back needs a token", ErrRegister)
	}
	if len(r.Tenant) > MaxDeviceTenant || len(r.Directory) > MaxDeviceDirectory || !printable(r.Tenant+r.Directory) {
		return fmt.Errorf("%w: tenant or directory is no name", ErrRegister)
	}
	return r.validate(false)
}

// DeviceAnswer is a code (RFC 8628 §3.2).
type DeviceAnswer struct {
	// DeviceCode is the agent's secret, UserCode what the administrator is told.
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	// VerificationURI is where the administrator goes, VerificationURIComplete the same with the code in it.
	VerificationURI         string `json:"verification_uri"`
	VerificationURIComplete string `json:"verification_uri_complete"`
	// ExpiresIn and Interval are in seconds.
	ExpiresIn int `json:"expires_in"`
	Interval  int `json:"interval"`
}

// Validate reports what a terminal should not show or a poll could not use; the error wraps [ErrRegister].
func (a DeviceAnswer) Validate() error {
	switch {
	case a.DeviceCode == "" || len(a.DeviceCode) > MaxRegisterToken || a.UserCode == "" || len(a.UserCode) > 32:
		return fmt.Errorf("%w: a code is missing or too long", ErrRegister)
	case !strings.HasPrefix(a.VerificationURI, "https://") || !strings.HasPrefix(a.VerificationURIComplete, a.VerificationURI):
		return fmt.Errorf("%w: verification_uri is no https address", ErrRegister)
	case !printable(a.DeviceCode + a.UserCode + a.VerificationURIComplete):
		return fmt.Errorf("%w: control characters", ErrRegister)
	case a.ExpiresIn < 1 || a.Interval < 0:
		return fmt.Errorf("%w: expires_in or interval is out of range", ErrRegister)
	}
	return nil
}

// DevicePoll asks what became of a code.
type DevicePoll struct {
	DeviceCode string `json:"device_code"`
}

// DeviceError is the answer of a poll that is not the last, or not a good one (RFC 8628 §3.5, RFC 6749 §5.2).
type DeviceError struct {
	Error string `json:"error"`
	// Interval is how many seconds to wait between polls from now on; only with slow_down.
	Interval int `json:"interval,omitempty"`
	// Code is the number in the catalogue of what ends the polls; 0 while there is hope. Trace is for the service's log.
	Code  Code   `json:"code,omitempty"`
	Trace string `json:"trace,omitempty"`
}

// DecodeDeviceRequest reads one request, as [DecodeRegisterRequest] does.
func DecodeDeviceRequest(r io.Reader) (v DeviceRequest, err error) {
	if err := decodeDocument(r, MaxRegisterRequest, true, &v); err != nil {
		return DeviceRequest{}, err
	}
	return v, v.Validate()
}

// DecodeDeviceAnswer reads one code; unknown members are skipped.
func DecodeDeviceAnswer(r io.Reader) (v DeviceAnswer, err error) {
	if err := decodeDocument(r, MaxDeviceAnswer, false, &v); err != nil {
		return DeviceAnswer{}, err
	}
	return v, v.Validate()
}

// DecodeDevicePoll reads one poll.
func DecodeDevicePoll(r io.Reader) (v DevicePoll, err error) {
	if err := decodeDocument(r, MaxDevicePoll, true, &v); err != nil {
		return DevicePoll{}, err
	}
	if v.DeviceCode == "" || len(v.DeviceCode) > MaxRegisterToken {
		return DevicePoll{}, fmt.Errorf("%w: device_code is missing or too long", ErrRegister)
	}
	return v, nil
}

// DecodeDeviceError reads the answer of a poll; unknown members are skipped.
func DecodeDeviceError(r io.Reader) (v DeviceError, err error) {
	if err := decodeDocument(r, MaxProblem, false, &v); err != nil {
		return DeviceError{}, err
	}
	if v.Error == "" || len(v.Error) > 64 || !printable(v.Error) || v.Interval < 0 {
		return DeviceError{}, fmt.Errorf("%w: error is missing or unusable", ErrRegister)
	}
	return v, nil
}

// KeysFingerprint is what an administrator compares between a host's terminal and the page: 128 bits of the SHA-256 of both public keys
// of an agent, in groups. spki is the SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) of the certificate request, in DER.
func KeysFingerprint(spki []byte, suite int, envelopeKey []byte) string {
	h := sha256.New()
	h.Write([]byte("sallyport agent keys v1\x00"))
	first, second := sha256.Sum256(spki), sha256.Sum256(envelopeKey)
	h.Write(first[:])
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], uint64(suite))
	h.Write(number[:])
	h.Write(second[:])
	digits := hex.EncodeToString(h.Sum(nil)[:16])
	groups := make([]string, 0, 8)
	for ; digits != ""; digits = digits[4:] {
		groups = append(groups, digits[:4])
	}
	return strings.Join(groups, " ")
}
