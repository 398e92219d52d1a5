package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"log"
	"net/http"
)

// page is what the one template shows.
type page struct {
	Title     string
	UPN       string
	Claims    []row
	SignedOut bool
	Error     string
}

type row struct{ Name, Value string }

const style = `
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.5 }
body { margin: 0; display: grid; place-items: center; min-height: 100vh; background: light-dark(#f3f5f8, #14171c) }
main { width: min(44rem, 92vw); margin: 2rem 0; padding: 2rem; border-radius: .75rem; box-sizing: border-box;
  background: light-dark(#fff, #1e232b); box-shadow: 0 2px 16px rgb(0 0 0 / .12) }
h1 { margin: 0 0 .5rem; font-size: 1.5rem }
table { width: 100%; border-collapse: collapse; margin: 1.5rem 0; font-size: .9rem }
th, td { text-align: left; vertical-align: top; padding: .4rem .5rem; border-top: 1px solid light-dark(#dde2e9, #333b47);
  overflow-wrap: anywhere }
th { width: 11rem; font-weight: 600 }
a.button, button { display: inline-block; padding: .6rem 1.2rem; border: 0; border-radius: .5rem; font: inherit; cursor: pointer;
  text-decoration: none; background: #1f5fbf; color: #fff }
a.button:focus-visible, button:focus-visible { outline: 3px solid #f0a500; outline-offset: 2px }
.error { border-left: .3rem solid #c62828; padding-left: .8rem; overflow-wrap: anywhere }
`

var view = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.Title}}</title>
<style>` + style + `</style></head>
<body><main>
<h1>{{.Title}}</h1>
{{if .Error}}<p id="error" class="error" role="alert">{{.Error}}</p>
{{end}}{{if .UPN}}<p>You are signed in as <strong id="upn">{{.UPN}}</strong>. This is what the provider says about you:</p>
<table id="claims"><tbody>
{{range .Claims}}<tr><th scope="row">{{.Name}}</th><td>{{.Value}}</td></tr>
{{end}}</tbody></table>
<form method="post" action="/signout"><button id="signout" type="submit">Sign out</button></form>
{{else}}{{if .SignedOut}}<p id="signed-out">You are signed out.</p>
{{else}}<p>An ordinary application: it leaves passwords to those who know how to check them.</p>
{{end}}<p><a id="signin" class="button" href="/signin">Sign in</a></p>
{{end}}</main></body>
</html>
`))

// show writes the page. Nothing but its own style may load; its form ends at the provider, so form-action stays open.
func show(w http.ResponseWriter, status int, p page) {
	var b bytes.Buffer
	if err := view.Execute(&b, p); err != nil {
		log.Printf("show page: %v", err)
		http.Error(w, "The page cannot be shown.", http.StatusInternalServerError)
		return
	}
	sum := sha256.Sum256([]byte(style))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; style-src 'sha256-"+
		base64.StdEncoding.EncodeToString(sum[:])+"'")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the browser may have gone
}
