package identity

import (
	"context"
	"crypto/x509"
	"net/http"
	"time"

	"github.com/sallyport-auth/sallyport/wire"
)

// Prompt is what a registration without a token shows: the administrator opens Link, or types Code at Page, and compares Fingerprint.
type Prompt struct {
	Code, Page, Link string
	// Fingerprint is of the keys made on this host; computed here, never taken from the service.
	Fingerprint string
	// Expires is when the code ends.
	Expires time.Time
}

// Fingerprint returns what an administrator compares before approving the keys ([wire.KeysFingerprint]).
func (k Keys) Fingerprint() (string, error) {
	spki, err := x509.MarshalPKIXPublicKey(k.TLS.Public())
	if err != nil {
		return "", err
	}
	public := k.Envelope.Public()
	return wire.KeysFingerprint(spki, int(public.Suite()), public.Bytes()), nil
}

// byCode registers by a code that an administrator approves (RFC 8628): it asks for one, shows it, and polls until the decision, the end
// of the code's time, or that of ctx. A service that cannot be reached for a while is asked again.
func byCode(ctx context.Context, client *http.Client, service string, request wire.RegisterRequest, o Options, keys Keys) (wire.RegisterAnswer, time.Duration, error) {
	var none wire.RegisterAnswer
	ask := wire.DeviceRequest{RegisterRequest: request, Tenant: o.Tenant, Directory: o.Directory}
	if err := ask.Validate(); err != nil {
		return none, 0, &Error{Kind: ErrOptions, Cause: err, Remedy: "check --name, --tenant and --directory"}
	}
	fingerprint, err := keys.Fingerprint()
	if err != nil {
		return none, 0, err
	}
	code, skew, err := askCode(ctx, client, service, ask)
	if err != nil {
		return none, skew, err
	}
	life := min(time.Duration(code.ExpiresIn)*time.Second, maxCodeLife)
	o.Prompt(Prompt{Code: code.UserCode, Page: code.VerificationURI, Link: code.VerificationURIComplete, Fingerprint: fingerprint, Expires: time.Now().Add(life)})
	// A little longer than the code lives: the service says that it has expired.
	ctx, cancel := context.WithTimeout(ctx, life+registerTimeout)
	defer cancel()
	interval := pollInterval(code.Interval)
	for {
		timer := time.NewTimer(interval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return none, skew, &Error{Kind: ErrUnreachable, What: "no decision came", Cause: context.Cause(ctx), Remedy: "run register again for a new code"}
		case <-timer.C:
		}
		answer, again, err := poll(ctx, client, service, request.Version, code.DeviceCode, &interval)
		if !again {
			return answer, skew, err
		}
	}
}

// pollInterval is what the service asks for, in seconds, within reason; RFC 8628 §3.2 gives the default.
func pollInterval(seconds int) time.Duration {
	if seconds == 0 {
		return pollDefault
	}
	return min(max(time.Duration(seconds)*time.Second, pollMin), pollMax)
}

func askCode(ctx context.Context, client *http.Client, service string, ask wire.DeviceRequest) (wire.DeviceAnswer, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	response, skew, err := send(ctx, client, service+wire.DevicePath, ask.Version, ask)
	if err != nil {
		return wire.DeviceAnswer{}, 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return wire.DeviceAnswer{}, skew, refusal(response)
	}
	code, err := wire.DecodeDeviceAnswer(response.Body)
	if err != nil {
		return wire.DeviceAnswer{}, skew, notOurs(err)
	}
	return code, skew, nil
}

// poll asks once. again is true when nothing is decided; interval grows when the service wants that.
func poll(ctx context.Context, client *http.Client, service, version, secret string, interval *time.Duration) (answer wire.RegisterAnswer, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	response, _, err := send(ctx, client, service+wire.DevicePollPath, version, wire.DevicePoll{DeviceCode: secret})
	if err != nil {
		*interval = min(*interval*2, pollMax) // RFC 8628 §3.5: back off when the connection times out
		return answer, true, nil
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusCreated:
		if answer, err = wire.DecodeRegisterAnswer(response.Body); err != nil {
			return answer, false, notOurs(err)
		}
		return answer, false, nil
	case response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= http.StatusInternalServerError:
		*interval = min(*interval*2, pollMax)
		return answer, true, nil
	case response.StatusCode != http.StatusBadRequest || response.Header.Get("Content-Type") == wire.ProblemType:
		return answer, false, refusal(response)
	}
	said, err := wire.DecodeDeviceError(response.Body)
	if err != nil {
		return answer, false, notOurs(err)
	}
	switch said.Error {
	case wire.DevicePending:
		return answer, true, nil
	case wire.DeviceSlowDown:
		*interval = max(pollInterval(said.Interval), min(*interval+slowDownBy, pollMax))
		return answer, true, nil
	}
	e := &Error{Kind: ErrRefused, Code: said.Code, What: shown(said.Error), Remedy: "run register again for a new code", Trace: shown(said.Trace)}
	if entry, ok := wire.Lookup(said.Code); ok {
		e.What, e.Remedy = entry.Public, entry.Remedy
	}
	return answer, false, e
}
