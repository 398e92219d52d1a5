package directory

// Limits on what goes to a directory and on what is read of its answers.
const (
	// MaxPassword in bytes: Active Directory's passwords have at most 256 characters, of up to four bytes in UTF-8.
	MaxPassword = 1024
	// MaxName in bytes: a userPrincipalName has at most 1024 characters, of which signing in uses far fewer.
	MaxName = 1024

	// maxDiagnostic is how many bytes of a directory's text are read: the number stands within the first hundred.
	maxDiagnostic = 1024
	// maxShown is how many characters of it go into a verdict; the usual text has 90.
	maxShown = 160
	// maxSubCode is how many hexadecimal digits a sub-code may have: a Win32 number has at most eight.
	maxSubCode = 8
	// maxQuestion is the longest question to Explain in bytes; a pasted diagnostic fits.
	maxQuestion = 1024
)
