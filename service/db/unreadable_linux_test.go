package db_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// TestUnwritable asks as a user to whom folder and file do not belong, which also root becomes for the files' sake.
func TestUnwritable(t *testing.T) {
	dir, err := os.MkdirTemp("", "sallyport-unwritable-") // t.TempDir has parents that nobody else may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	private := filepath.Join(dir, "private")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(private, 0o700)); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(dir, "locked")
	if err := os.Mkdir(locked, 0o500); err != nil {
		t.Fatal(err)
	}
	shared := filepath.Join(dir, "shared")
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(shared, "foreign.db")
	if err := os.WriteFile(foreign, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Only this thread changes its user, and the thread ends with the goroutine because it stays locked.
		runtime.LockOSThread()
		if os.Getuid() == 0 {
			const nobody = 65534
			if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0); int(errno) != 0 {
				t.Errorf("setfsuid: %v", errno)
				return
			}
		}
		refused(t, "sqlite:"+filepath.Join(locked, "x.db"), "change its owner")
		refused(t, "sqlite:"+foreign, "change its owner")
		if os.Getuid() == 0 { // the owner may enter a private folder
			refused(t, "sqlite:"+filepath.Join(private, "deeper", "x.db"), "change its owner")
		}
	}()
	<-done
}
