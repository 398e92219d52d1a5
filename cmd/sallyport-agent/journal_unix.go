//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
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

// actAsOwner makes root the user that a folder belongs to, for good: who looks at an agent looks as the agent does, and writes nothing that
// the agent could not read. Other users, and root's own folders, stay what they are.
func actAsOwner(dir string) error {
	info, err := os.Stat(dir)
	if err != nil || os.Geteuid() != 0 {
		return nil // what is wrong with the folder is said by whoever opens it
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || s.Uid == 0 {
		return nil
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(int(s.Gid)), syscall.Setuid(int(s.Uid))); err != nil {
		return fmt.Errorf("becoming uid %d, which %s belongs to: %w", s.Uid, dir, err)
	}
	return nil
}

func ownerOf(info fs.FileInfo) string {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d:%d", s.Uid, s.Gid)
	}
	return "?"
}
