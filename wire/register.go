package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
	"unicode/utf8"
)

// RegisterPath is where an agent registers: POST, JSON, over HTTPS, on the service's public listener.
const RegisterPath = "/agent/v1/register"

// RevocationsPath is where revocation lists are: RevocationsPath + issuer + ".crl", GET, on the service's public listener.
const RevocationsPath = "/agent/v1/crl/"

// ProblemType is the media type of a [Problem] (RFC 9457 §3).
const ProblemType = "application/problem+json"

// Limits of the registration's documents, held by the decoders below: all of a document, and its members, in bytes. The
// envelope key of suite 1 is 1,216 bytes and a CSR under 1 KB, so all leave room for a larger suite.
const (
	MaxRegisterRequest = 32 << 10
	MaxRegisterAnswer  = 64 << 10
	MaxProblem         = 16 << 10
	MaxRegisterToken   = 256
	MaxRegisterName    = 128
	MaxRegisterHost    = 255
	MaxRegisterOS      = 128
	MaxRegisterVersion = 64
	MaxRegisterCSR     = 8 << 10
	MaxEnvelopeKey     = 4 << 10

	MaxRegisterKeyStore  = 32
	MaxInstance          = 32
	MaxFormerCertificate = 8 << 10
	MaxFormerSignature   = 1 << 10
)

// The kinds of key store that agents name.
const (
	// KeyStoreFile is files that the agent's user alone may read; an empty name means the same.
	KeyStoreFile = "file"
	// KeyStoreTPM is the host's TPM 2.0, which keys cannot leave.
	KeyStoreTPM = "tpm"
)

// ErrRegister is wrapped by every refusal of the decoders of registration documents. Its text never repeats the token.
var ErrRegister = errors.New("malformed registration document")

// RegisterRequest is what an agent sends once, with an enrolment token, to become a member of a fleet. The private halves
// of both keys stay with the agent.
type RegisterRequest struct {
	// Token is the enrolment token, shown once to the administrator. It never reaches a log: see [RegisterRequest.LogValue].
	Token string `json:"token,omitempty"`
	// Name is what the agent wants to be called in the fleet; usually the host's name.
	Name string `json:"name"`
	// Host, OS and Version describe where the agent runs and what it is; for display.
	Host    string `json:"host"`
	OS      string `json:"os"`
	Version string `json:"version"`
	// Instance tells agents on one host apart, of which there is one by default; see [IsInstance]. Empty means that it is the only one.
	Instance string `json:"instance,omitempty"`
	// CSR is a PKCS #10 request in PEM. The service takes the public key from it, after checking the signature, and
	// nothing else.
	CSR string `json:"csr"`
	// EnvelopeSuite and EnvelopeKey are the public key that passwords are to be sealed to; base64 in JSON.
	EnvelopeSuite int    `json:"envelope_suite"`
	EnvelopeKey   []byte `json:"envelope_key"`
	// KeyStore says where the private keys are kept ([KeyStoreTPM]); empty means files in the state folder.
	KeyStore string `json:"key_store,omitempty"`
	// Former proves that this agent was a member before and wants to be the same again; nil for a new one.
	Former *RegisterFormer `json:"former,omitempty"`
}

// IsInstance reports whether s can tell an agent from others on its host: 1 to [MaxInstance] lower-case letters, digits and hyphens, none
// at an end. It becomes part of names of agents, folders and services.
func IsInstance(s string) bool {
	if s == "" || len(s) > MaxInstance || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// RegisterFormer is the proof of an agent that comes back.
type RegisterFormer struct {
	// Certificate is the agent's last certificate and the chain above it, in PEM; its time may be over.
	Certificate string `json:"certificate"`
	// Signature is made with that certificate's key over [AgainProof]; base64 in JSON.
	Signature []byte `json:"signature"`
}

// AgainProof is what an agent that comes back signs with its former key: this registration and no other. token is the SHA-256 of the
// enrolment token, csr the certificate request in DER.
func AgainProof(token, csr, envelopeKey []byte) []byte {
	h := sha256.New()
	h.Write([]byte("sallyport register again v1\x00"))
	for _, part := range [][]byte{token, csr, envelopeKey} {
		sum := sha256.Sum256(part)
		h.Write(sum[:])
	}
	return h.Sum(nil)
}

// LogValue prints who registers, without the token.
func (r RegisterRequest) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", r.Name), slog.String("host", r.Host), slog.String("os", r.OS),
		slog.String("version", r.Version))
}

// Format prints who registers, without the token, for every verb.
func (r RegisterRequest) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "registration of %q on %q", r.Name, r.Host)
}

// Validate reports the first member that is missing, too long or not printable text; the error wraps [ErrRegister].
func (r RegisterRequest) Validate() error { return r.validate(true) }

// validate is Validate for a registration with a token, or without.
func (r RegisterRequest) validate(token bool) error {
	if !token && r.Token != "" {
		return fmt.Errorf("%w: a token has no place here", ErrRegister)
	}
	for _, m := range []struct {
		name, value string
		required    bool
		limit       int
	}{
		{"token", r.Token, token, MaxRegisterToken},
		{"name", r.Name, true, MaxRegisterName},
		{"host", r.Host, false, MaxRegisterHost},
		{"os", r.OS, false, MaxRegisterOS},
		{"version", r.Version, false, MaxRegisterVersion},
		{"key_store", r.KeyStore, false, MaxRegisterKeyStore},
	} {
		switch {
		case m.required && m.value == "":
			return fmt.Errorf("%w: %s is missing", ErrRegister, m.name)
		case len(m.value) > m.limit:
			return fmt.Errorf("%w: %s is longer than %d bytes", ErrRegister, m.name, m.limit)
		case !printable(m.value):
			return fmt.Errorf("%w: %s holds control characters or is not UTF-8", ErrRegister, m.name)
		}
	}
	switch {
	case r.Instance != "" && !IsInstance(r.Instance):
		return fmt.Errorf("%w: instance is not of 1 to %d lower-case letters, digits and hyphens", ErrRegister, MaxInstance)
	case r.CSR == "" || len(r.CSR) > MaxRegisterCSR:
		return fmt.Errorf("%w: csr is missing or longer than %d bytes", ErrRegister, MaxRegisterCSR)
	case len(r.EnvelopeKey) == 0 || len(r.EnvelopeKey) > MaxEnvelopeKey:
		return fmt.Errorf("%w: envelope_key is missing or longer than %d bytes", ErrRegister, MaxEnvelopeKey)
	case r.EnvelopeSuite < 1 || r.EnvelopeSuite > 0xffff:
		return fmt.Errorf("%w: envelope_suite is not a suite number", ErrRegister)
	case r.Former == nil:
	case r.Former.Certificate == "" || len(r.Former.Certificate) > MaxFormerCertificate:
		return fmt.Errorf("%w: former.certificate is missing or longer than %d bytes", ErrRegister, MaxFormerCertificate)
	case len(r.Former.Signature) == 0 || len(r.Former.Signature) > MaxFormerSignature:
		return fmt.Errorf("%w: former.signature is missing or longer than %d bytes", ErrRegister, MaxFormerSignature)
	}
	return nil
}

// RegisterAnswer tells a new agent who it is, what it serves and where its gateway is.
type RegisterAnswer struct {
	TenantID      string `json:"tenant_id"`
	TenantName    string `json:"tenant_name"`
	DirectoryID   string `json:"directory_id"`
	DirectoryName string `json:"directory_name"`
	AgentID       string `json:"agent_id"`
	AgentName     string `json:"agent_name"`
	// Certificate is the agent's certificate and the chain above it, in PEM, the agent's own first.
	Certificate string `json:"certificate"`
	// Gateway is "host:port".
	Gateway string `json:"gateway"`
	// GatewayCA is the PEM of the CA that the gateway's server certificate is to be checked against; empty means the
	// system's roots.
	GatewayCA   string `json:"gateway_ca,omitempty"`
	TrustDomain string `json:"trust_domain"`
	// Expires is the certificate's NotAfter.
	Expires time.Time `json:"expires"`
	// Pending says that an administrator has to approve the agent before it is served.
	Pending bool `json:"pending,omitempty"`
}

// Validate reports a missing member; the error wraps [ErrRegister].
func (a RegisterAnswer) Validate() error {
	for _, m := range []struct{ name, value string }{
		{"tenant_id", a.TenantID}, {"directory_id", a.DirectoryID}, {"agent_id", a.AgentID},
		{"certificate", a.Certificate}, {"gateway", a.Gateway}, {"trust_domain", a.TrustDomain},
	} {
		if m.value == "" {
			return fmt.Errorf("%w: %s is missing", ErrRegister, m.name)
		}
	}
	for _, id := range []string{a.TenantID, a.DirectoryID, a.AgentID} {
		if !isID(id) {
			return fmt.Errorf("%w: %q is not an id", ErrRegister, id)
		}
	}
	if a.Expires.IsZero() {
		return fmt.Errorf("%w: expires is missing", ErrRegister)
	}
	return nil
}

// Problem is an error of an HTTP interface (RFC 9457 §3.1, with three members of ours).
type Problem struct {
	// Type is a URI that names the kind of problem; "about:blank" when empty (RFC 9457 §3.1.1).
	Type string `json:"type,omitempty"`
	// Title is the short name of the kind, Detail a sentence about this occurrence.
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail,omitempty"`
	Instance string `json:"instance,omitempty"`
	// Code is the number in the catalogue, Remedy what to do next, Trace the id under which every log knows this request.
	Code   Code   `json:"code,omitempty"`
	Remedy string `json:"remedy,omitempty"`
	Trace  string `json:"trace,omitempty"`
}

// Error lets a client return a problem as an error.
func (p *Problem) Error() string {
	s := p.Title
	if p.Code != 0 {
		s = p.Code.String() + " " + s
	}
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	if p.Trace != "" {
		s += " (trace " + p.Trace + ")"
	}
	return s
}

// DecodeRegisterRequest reads one request: at most [MaxRegisterRequest] bytes, no unknown members, nothing after it, and
// valid by [RegisterRequest.Validate].
func DecodeRegisterRequest(r io.Reader) (RegisterRequest, error) {
	var v RegisterRequest
	if err := decodeDocument(r, MaxRegisterRequest, true, &v); err != nil {
		return RegisterRequest{}, err
	}
	if err := v.Validate(); err != nil {
		return RegisterRequest{}, err
	}
	return v, nil
}

// DecodeRegisterAnswer reads one answer of at most [MaxRegisterAnswer] bytes. Members that it does not know are skipped, so
// that an old agent can register with a newer service.
func DecodeRegisterAnswer(r io.Reader) (RegisterAnswer, error) {
	var v RegisterAnswer
	if err := decodeDocument(r, MaxRegisterAnswer, false, &v); err != nil {
		return RegisterAnswer{}, err
	}
	if err := v.Validate(); err != nil {
		return RegisterAnswer{}, err
	}
	return v, nil
}

// DecodeProblem reads one problem of at most [MaxProblem] bytes; unknown members are skipped (RFC 9457 §3.2).
func DecodeProblem(r io.Reader) (*Problem, error) {
	var v Problem
	if err := decodeDocument(r, MaxProblem, false, &v); err != nil {
		return nil, err
	}
	return &v, nil
}

// decodeDocument reads one JSON object. The causes that encoding/json would give are left out of the error: some of them
// quote the input, and the input holds the token.
func decodeDocument(r io.Reader, limit int64, strict bool, into any) error {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return fmt.Errorf("%w: reading: %w", ErrRegister, err)
	}
	if int64(len(b)) > limit {
		return fmt.Errorf("%w: longer than %d bytes", ErrRegister, limit)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: not a JSON object of the known members", ErrRegister)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the JSON object", ErrRegister)
	}
	return nil
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, c := range s {
		if c < 0x20 || c == 0x7f || (c >= 0x80 && c < 0xa0) || c == 0x2028 || c == 0x2029 {
			return false
		}
	}
	return true
}
