package tenant

import "time"

const (
	// recentFor is how old an answer of RecentTenant may be: a second, as everywhere where processes hear of changes late.
	recentFor = time.Second

	// recentLimit bounds the tenants that are remembered: a few hundred bytes each.
	recentLimit = 10_000

	// DefaultColor is the colour of the sign-in page of a tenant that chose none: a dark blue, 8.9:1 against white.
	DefaultColor = "#0f4c81"

	// minContrast is what WCAG 2.2 §1.4.3 asks of ordinary text: the page writes white on the tenant's colour.
	minContrast = 4.5

	// maxDisplayName keeps a heading on a telephone to a few lines.
	maxDisplayName = 100

	// maxPolicyGroups and maxGroupName bound the groups that a policy names; a name has at most 256 characters in AD (MS-ADA1, cn).
	maxPolicyGroups = 100
	maxGroupName    = 256

	// maxDirectoryName is the length of a DNS label, which most directories are named after.
	maxDirectoryName = 63

	// maxAttribute bounds the name of an attribute; AD's longest have some fifty. A NetBIOS name has 15 characters (the sixteenth is its kind).
	maxAttribute = 64
	maxNetBIOS   = 15
)
