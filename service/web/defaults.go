package web

import "time"

const (
	// MaxForm is the size of the largest form body that a door should read, in bytes. A password of 1,024 bytes and a name
	// of 320, each byte written as %XX, are 4 KB; the rest is room for fields of ours and of password managers.
	MaxForm = 16 << 10

	// strictTransport is how long browsers shall insist on HTTPS. A year is what preload lists and scanners ask for.
	strictTransport = 365 * 24 * time.Hour

	// maxForwarded bounds how many addresses of X-Forwarded-For are looked at. More than a few proxies in a row that all are
	// trusted is a loop or an attack.
	maxForwarded = 16

	// maxStack bounds the frames logged of a panic: enough for a handler below all middleware.
	maxStack = 64
)
