// Package user keeps people as the service knows them: synced ones, whose passwords a directory checks and whose names come
// from there, and cloud-only ones, whose password hash is kept here (the break-glass kind).
//
// A synced user is tied to its directory by the anchor, the objectGUID, which survives renames and moves; the UPN is only
// what the user is called today. [Store.Provision] brings what a directory told at a sign-in into the store, by these rules:
//
//	the anchor is known                         refresh the user, also under a new UPN
//	its new UPN belongs to another user         Conflict: never joined, an administrator decides
//	anchor unknown, UPN unknown                 make the user if the domain admits users, else UserNotFound
//	anchor unknown, UPN of a synced user that   join: the administrator made the user before the first sign-in;
//	  was made by hand in this directory          from now on the anchor decides
//	anchor unknown, UPN of anybody else         Conflict: another person had the name before, or it is a cloud-only user,
//	                                              who must not fall into the hands of whoever rules the directory
//
// It refuses to check passwords (package password does) and to delete people who have vanished from a directory: whoever
// cannot sign in there cannot sign in here.
//
// Callers: password (looks up, provisions), signin and oidc (who is it?), admin.
package user
