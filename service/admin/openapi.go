package admin

import (
	_ "embed"
	"net/http"
)

// description is the OpenAPI 3.1 document of this API; tests hold it to the routes, to the types and to real answers.
//
//go:embed openapi.json
var description []byte

// describe serves the description. It needs no token: it is the same in every installation and says nothing of this one, and the
// tools that read such documents bring none.
func describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(description) // the caller has gone: nothing to tell
}
