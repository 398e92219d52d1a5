// Package visitor signs in as a person with a browser without script would: it follows redirects, fills the forms that it finds
// and keeps cookies. It knows the discovery address of an issuer and the registration of one application, and nothing else of the
// service, so that what it sees is what anybody's browser and application would see.
//
// It judges nothing: an [Outcome] is what was on the last page, or who the ID token names. It is called by the demonstration's
// check and by the tests of package world.
package visitor
