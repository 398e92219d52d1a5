// Package demo runs the whole system on one machine, for a newcomer to try and for CI to judge: the service in this process, a
// directory (embedded, a throw-away Samba AD, or one that the user has), three agents and a sample application as processes of
// their own.
//
// It uses what everybody uses: agents register with one-time tokens and dial out over mutual TLS, nouns are made through the
// admin API, and [Check] signs in through the real pages with an HTTP client that knows only the discovery address. It decides
// nothing about sign-ins.
//
//	demo process: service (SQLite, queue) + directory
//	   ├─ sallyport-agent × 3      register, then run
//	   └─ sallyport-sample-app     an ordinary OpenID Connect client
//
// It is called by "sallyport demo" and by the browser test.
package demo
