package admin

import "time"

const (
	// maxBody bounds a request: the largest, an app with many redirect addresses, is far below.
	maxBody = 64 << 10
	// maxAnswer bounds what the client reads: a page of 500 entries with room to spare.
	maxAnswer = 8 << 20
	// pageSize is how many entries a list returns unless told, and maxPageSize the most.
	pageSize    = 100
	maxPageSize = 500
	// tokenLife is how long an administrator's token lives by default: a year, since programs hold them; each can be removed.
	tokenLife = 365 * 24 * time.Hour
	// enrolTokenLife is how long an enrolment token lives unless told: an afternoon's work of installing agents.
	enrolTokenLife = 24 * time.Hour
	// maxEnrolTokenLife bounds it: a secret that adds agents must not lie about for months.
	maxEnrolTokenLife = 30 * 24 * time.Hour
)
