//go:build !linux

package bench

import "testing"

func apart(b *testing.B) { b.Skip("only Linux lets this program say which core does what") }
