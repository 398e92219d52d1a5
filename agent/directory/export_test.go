package directory

import (
	"maps"
	"slices"
)

// NumberNames are the names that NTSTATUS and Kerberos give their numbers.
func NumberNames() []string {
	return append(slices.Collect(maps.Keys(statusNames)), slices.Collect(maps.Values(kerberosNames))...)
}
