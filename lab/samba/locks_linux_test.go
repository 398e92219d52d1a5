package samba

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOrphansAreRemovedAndOthersStay(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	used, orphan, foreign := filepath.Join(tmp, dirPrefix+"1"), filepath.Join(tmp, dirPrefix+"2"), filepath.Join(tmp, "other-3")
	for _, dir := range []string{used, orphan, foreign} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		lock, err := own(dir)
		if err != nil {
			t.Fatal(err)
		}
		if dir == used {
			defer lock.Close()
			if _, err := own(dir); err == nil {
				t.Error("a directory has two owners")
			}
		} else if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
	}
	removeOrphans()
	for dir, want := range map[string]bool{used: true, orphan: false, foreign: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: %v, should be there: %v", filepath.Base(dir), err, want)
		}
	}
}

func TestAddressesAreReservedOnce(t *testing.T) {
	if err := Available(); err != nil && strings.Contains(err.Error(), "1024") {
		if os.Getenv("SALLYPORT_CI") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	wanted := netip.MustParseAddr("127.77.250.7")
	first, err := reserve(wanted)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reserve(wanted); err == nil {
		t.Error("one address was reserved twice")
	}
	free, err := reserve(netip.Addr{})
	if err != nil || free.address == wanted {
		t.Fatalf("a free address: %v, %v", free, err)
	}
	free.release()
	first.release()
	again, err := reserve(wanted)
	if err != nil {
		t.Fatal(err)
	}
	again.release()
}
