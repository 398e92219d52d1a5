package signin

import (
	"bytes"
	"errors"
	"mime"
	"net/http"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// form holds the decoded fields of a posted form, each in memory of its own. net/http's own parser would make strings of a
// password, which cannot be wiped.
type form map[string][]byte

// text returns a field as text, "" when absent; never for a password.
func (f form) text(name string) string { return string(f[name]) }

// readForm reads the body, at most [web.MaxForm] bytes of application/x-www-form-urlencoded, and wipes it once it is decoded.
func readForm(w http.ResponseWriter, r *http.Request) (form, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, fault.New(wire.BadRequest, "the form's media type is not application/x-www-form-urlencoded")
	}
	// Room for all of it at once: a buffer that grows would leave copies behind that nobody wipes.
	body := bytes.NewBuffer(make([]byte, 0, web.MaxForm+bytes.MinRead))
	_, err = body.ReadFrom(http.MaxBytesReader(w, r.Body, web.MaxForm))
	raw := body.Bytes()
	defer clear(raw)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, fault.Newf(wire.BadRequest, "the form is larger than %d bytes", web.MaxForm)
	case err != nil:
		return nil, fault.Wrap(wire.BadRequest, "the form could not be read", err)
	}
	return parseForm(raw)
}

// parseForm decodes application/x-www-form-urlencoded (WHATWG URL §5.1). It refuses what a browser never sends: a broken %XX,
// a field that comes twice (which of them would count?), and more than maxFields fields.
func parseForm(body []byte) (form, error) {
	f := form{}
	for part := range bytes.SplitSeq(body, []byte("&")) {
		if len(part) == 0 {
			continue
		}
		rawKey, rawValue, _ := bytes.Cut(part, []byte("="))
		key, ok1 := unescape(rawKey)
		value, ok2 := unescape(rawValue)
		_, twice := f[string(key)]
		switch {
		case !ok1 || !ok2:
			f.wipe()
			return nil, fault.New(wire.BadRequest, "the form holds a broken escape")
		case twice:
			clear(value)
			f.wipe()
			return nil, fault.New(wire.BadRequest, "the form holds a field twice")
		case len(f) == maxFields:
			clear(value)
			f.wipe()
			return nil, fault.Newf(wire.BadRequest, "the form has more than %d fields", maxFields)
		}
		f[string(key)] = value
	}
	return f, nil
}

// wipe overwrites all values.
func (f form) wipe() {
	for _, v := range f {
		clear(v)
	}
}

// unescape decodes %XX and '+' into new memory.
func unescape(in []byte) ([]byte, bool) {
	out := make([]byte, 0, len(in))
	for i := 0; i < len(in); i++ {
		switch c := in[i]; c {
		case '+':
			out = append(out, ' ')
		case '%':
			if i+2 >= len(in) {
				return nil, false
			}
			hi, lo := unhex(in[i+1]), unhex(in[i+2])
			if hi < 0 || lo < 0 {
				return nil, false
			}
			out = append(out, byte(hi<<4|lo))
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out, true
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
