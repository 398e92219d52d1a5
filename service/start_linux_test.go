package service

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// TestUnwritableData asks as a user to whom the folder does not belong, which also root becomes for the files' sake.
func TestUnwritableData(t *testing.T) {
	outer, err := os.MkdirTemp("", "sallyport-unwritable-") // t.TempDir has parents that nobody else may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(outer) })
	noError(t, os.Chmod(outer, 0o555))
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
		cfg := Defaults()
		cfg.TLS.LocalCA = true
		cfg.Data = filepath.Join(outer, "data")
		_, err := New(t.Context(), cfg, nil)
		if err == nil {
			t.Error("a folder was made where none can be made")
			return
		}
		wantError(t, err, "data:", "cannot be made by this user", "or name another")
	}()
	<-done
	// A folder that is there and cannot be written: the key file is the first that is missed.
	locked := filepath.Join(t.TempDir(), "locked")
	noError(t, os.Mkdir(locked, 0o500))
	if os.Getuid() != 0 { // root writes everywhere
		cfg := Defaults()
		cfg.TLS.LocalCA, cfg.Data = true, locked
		_, err := New(t.Context(), cfg, nil)
		wantError(t, err, "data:", "owned by the user that runs the service")
	}
}
