// Package localca makes the TLS certificates of an evaluation: one certificate authority, made at the first start and kept in
// files, and a server certificate under it. With it, everything on an evaluation machine speaks verified TLS from the first
// minute: whoever shall trust the servers is given [CA.CertificateFile], and nobody is ever told to skip verification.
//
// It refuses to be mistaken for more: the authority says "evaluation" in its subject, may sign servers and nothing below
// itself, and has nothing to do with the agents' certificates (package ca). In production the administrator names
// certificate files of their own authority, and this package is not used.
//
// The wiring (package service) calls it. The files in its directory:
//
//	ca.pem                 key and certificate of the authority, 0600
//	ca-certificate.pem     the certificate alone, 0644: the file to hand out
//	server.pem             key and certificate of the server, 0600; re-made when hosts change or the end is near
package localca
