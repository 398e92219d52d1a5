package main

import (
	"os"
	"path/filepath"
)

// defaultState is where programs keep what belongs to the machine and to no user.
var defaultState = filepath.Join(os.Getenv("ProgramData"), "Sallyport", "agent")
