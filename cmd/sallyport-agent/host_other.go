//go:build !windows

package main

import "context"

// underServiceManager: outside Windows a service is an ordinary process.
func underServiceManager(func(context.Context) int) (code int, is bool) { return 0, false }
