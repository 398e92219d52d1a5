// Package admin is the administrators' door: a JSON API under /admin/v1, by noun, for the command line and for other programs.
//
// It decides nothing: every rule lives with its noun (tenant, user, app, fleet …). It authenticates a bearer token, finds the
// tenant that the path names, calls the noun, and translates faults into problem documents (RFC 9457) with the number, the
// remedy and the trace id. A token is either good for the whole installation or for one tenant; to the latter every other
// tenant looks as if it did not exist.
//
// [Client] is the other end; the command line uses nothing else.
package admin
