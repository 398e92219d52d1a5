//go:build !windows

package windows

func thisHost() (host, error) { return nil, ErrElsewhere }
