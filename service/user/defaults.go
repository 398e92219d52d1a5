package user

import "time"

const (
	// maxUPN bounds a user name in bytes. Active Directory allows 1024 characters in userPrincipalName, Entra 113; 256 is what
	// RFC 5321 §4.5.3.1.3 allows an address, and fits an index of every database.
	maxUPN = 256

	// maxText bounds display name, given name, family name and mail address in characters: Active Directory's displayName and mail have 256.
	maxText = 256

	// maxGroups and maxGroup bound what a directory may tell of groups. A Windows token holds 1015 (MaxTokenSize), so a person
	// with more direct groups cannot even log on; a CN has 64 characters.
	maxGroups = 2000
	maxGroup  = 256

	// refreshAfter is how old AttributesAt may grow while nothing else changes: a sign-in within this time of the last
	// one writes nothing. Package password asks a directory again who somebody is after the same time.
	refreshAfter = 10 * time.Minute

	// aliasFor is how long a user's other name holds without a sign-in that tells it again: the directory may have given it to somebody else since, whose
	// attempts would count for this user. Who signs in now and then, by any name of a domain that has it looked up, does so within a month.
	aliasFor = 30 * 24 * time.Hour
)
