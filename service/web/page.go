package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

//go:embed templates
var files embed.FS

var (
	frame     = template.Must(template.ParseFS(files, "templates/frame.html"))
	errorBody = template.Must(template.ParseFS(files, "templates/error.html"))
	baseStyle = mustRead("templates/style.css")
	baseHash  = hashSource(baseStyle)
)

func mustRead(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// hashSource returns the CSP source expression of an inline style (CSP3 §2.3.1).
func hashSource(style string) string {
	sum := sha256.Sum256([]byte(style))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Brand is whose page it is. The zero value is nobody's: a neutral page.
type Brand struct {
	// Name is shown at the top and decides the letter in the mark.
	Name string
	// Color is "#rrggbb"; anything else is the default. Text on it is black or white, whichever reads better.
	Color string
}

// Page is one page in the frame.
type Page struct {
	// Title is the window's title; what went wrong comes first, if something did.
	Title string
	Brand Brand
	// Body and Data are the template between header and footer, and what it is executed with.
	Body *template.Template
	Data any
	// Posts allows the page's forms to post to our own origin; otherwise no form of it can be sent.
	Posts bool
	// Refresh sends the browser on to this address at once, with GET; see the package comment for why.
	Refresh string
	// Popup keeps the page reachable for the window that opened it. Applications may show a sign-in in a popup, and a
	// Cross-Origin-Opener-Policy would cut it off from them for good, also after it has come back to the application.
	Popup bool
}

// Write answers with the page. It fails when a template does; then nothing was sent, and the caller answers with [Error].
func (p Page) Write(w http.ResponseWriter, status int) error {
	var body, out bytes.Buffer
	if err := p.Body.Execute(&body, p.Data); err != nil {
		return fault.Wrap(wire.Internal, "page", err)
	}
	brand := brandStyle(p.Brand.Color)
	err := frame.Execute(&out, struct {
		Title, Mark       string
		Base, Brand, Body template.HTML
	}{p.Title, mark(p.Brand.Name),
		// Both are ours down to the byte: a file of this package, and colours printed from numbers.
		template.HTML("<style>" + baseStyle + "</style>"), template.HTML("<style>" + brand + "</style>"),
		template.HTML(body.String())}) // made by html/template above
	if err != nil {
		return fault.Wrap(wire.Internal, "frame", err)
	}
	policy := basePolicy + "; style-src " + baseHash + " " + hashSource(brand)
	if p.Posts {
		policy += "; form-action 'self'"
	} else {
		policy += "; form-action 'none'"
	}
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(out.Len()))
	if p.Popup {
		h.Del("Cross-Origin-Opener-Policy")
	}
	if p.Refresh != "" {
		h.Set("Refresh", "0;url="+p.Refresh)
	}
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes()) // the browser has gone: nobody to tell
	return nil
}

// brandStyle puts a tenant's colour into the variables that the style sheet uses, for light and for dark screens.
func brandStyle(color string) string {
	c := parseColor(color)
	light, dark := c.toward(black, white, 3), c.toward(white, rgb{0x18, 0x1c, 0x22}, 3)
	return ":root{--brand:" + light.String() + ";--on-brand:" + textOn(light).String() + "}" +
		"@media(prefers-color-scheme:dark){:root{--brand:" + dark.String() + ";--on-brand:" + textOn(dark).String() + "}}"
}

// mark returns the first letter or digit of a name, as a capital; "" when there is none.
func mark(name string) string {
	for i := 0; i < len(name); {
		c, n := utf8.DecodeRuneInString(name[i:])
		if c != utf8.RuneError && (unicode.IsLetter(c) || unicode.IsDigit(c)) {
			return string(unicode.ToUpper(c))
		}
		i += n
	}
	return ""
}

// Error answers with the error page: the catalogue's public sentence on err, its number, the trace id and the time, with the
// status that [Status] gives. The cause is not logged here: who returned the error knows more. Two errors of one number make pages
// of equal size.
func Error(w http.ResponseWriter, r *http.Request, err error) { ErrorFor(w, r, Brand{}, err) }

// ErrorFor is [Error] on a tenant's page.
func ErrorFor(w http.ResponseWriter, r *http.Request, b Brand, err error) {
	entry := fault.Entry(err)
	status := Status(entry.Code)
	if s := retryAfter(status); s != "" {
		w.Header().Set("Retry-After", s)
	}
	p := Page{Title: "Error: " + entry.Public, Brand: b, Body: errorBody, Popup: true, Data: struct {
		Code          wire.Code
		Public, Trace string
		Time          string
	}{entry.Code, entry.Public, TraceID(r.Context()), time.Now().UTC().Format("2006-01-02 15:04:05 UTC")}}
	if err := p.Write(w, status); err != nil { // a template of our own is broken: plain words are left
		http.Error(w, entry.Public, status)
	}
}
