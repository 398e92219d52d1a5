// Package audit keeps the sign-in log: one record for each sign-in, written once, when its outcome is known, with every stop
// of its way. It is what an administrator reads to learn why somebody could not sign in, so it holds the true reason that the
// sign-in page does not show.
//
// [Log.Record] returns once the record is in the store; then it survives the death of the process (and a power cut, see
// package db). Records that arrive while a transaction is under way are written together in the next one, by whichever caller is
// first in line, so a thousand sign-ins cost a handful of fsyncs:
//
//	Record ──▶ line (bounded) ──┬─ nobody writes: write the line's head, myself included, in one transaction
//	                            └─ somebody writes: wait until my record is stored, or until it is my turn to write
//
// There is no writer in the background, so Record works whether or not [Log.Run] runs; Run only removes records that have grown
// old.
//
// It refuses passwords: nothing in [SignIn] has room for one. It refuses to fail a batch for one bad record: records of a
// tenant that is removed meanwhile fail alone. And it refuses to let what strangers type reach a terminal or a table as
// anything but text: control characters are replaced, long texts are cut.
//
// Callers: signin (Record), admin (List), the wiring (Run). Type Stop is also password's.
package audit
