//go:build unix

package main

import (
	"context"
	"fmt"
	"io/fs"
	"os/exec"
	"syscall"
	"time"
)

// journal is the unit's log of the last time, from systemd.
func journal(ctx context.Context, since time.Duration) string {
	path, err := exec.LookPath("journalctl")
	if err != nil {
		return "no journal on this host; give the log with --log-file\n"
	}
	// Two lines for each check of a busy day, at most.
	text, err := exec.CommandContext(ctx, path, "--unit=sallyport-agent", "--no-pager", "--output=short-iso-precise", "--lines=50000",
		fmt.Sprintf("--since=-%ds", int(since.Seconds()))).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("journalctl: %v\n%s", err, text)
	}
	return string(text[max(0, len(text)-maxLog):])
}

func ownerOf(info fs.FileInfo) string {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d:%d", s.Uid, s.Gid)
	}
	return "?"
}
