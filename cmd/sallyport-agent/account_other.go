//go:build !windows && !linux

package main

import "context"

// serviceAccount: the library's default.
const serviceAccount = ""

// protect does nothing: the folder's mode is its protection.
func protect(context.Context, *terminal, string) error { return nil }
