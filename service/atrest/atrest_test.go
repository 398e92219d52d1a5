package atrest_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport-auth/sallyport/service/atrest"
)

func box(t testing.TB) *atrest.Box {
	t.Helper()
	b, err := atrest.OpenOrCreate(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	b := box(t)
	for _, plaintext := range [][]byte{nil, []byte("k"), bytes.Repeat([]byte("k"), atrest.MaxSecret)} {
		sealed, err := b.Seal("signing-key", plaintext)
		if err != nil {
			t.Fatal(err)
		}
		if len(plaintext) > 8 && bytes.Contains(sealed, plaintext[:8]) {
			t.Error("the sealed bytes show the secret")
		}
		opened, err := b.Open("signing-key", sealed)
		if err != nil || !bytes.Equal(opened, plaintext) {
			t.Errorf("opened %d bytes, %v; want %d", len(opened), err, len(plaintext))
		}
	}
	one, _ := b.Seal("p", []byte("same"))
	two, _ := b.Seal("p", []byte("same"))
	if bytes.Equal(one, two) {
		t.Error("two seals of one secret are equal")
	}
}

func TestRefusals(t *testing.T) {
	b, other := box(t), box(t)
	sealed, err := b.Seal("signing-key", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	changed := func(i int) []byte {
		c := bytes.Clone(sealed)
		c[i] ^= 1
		return c
	}
	for _, c := range []struct {
		name    string
		box     *atrest.Box
		purpose string
		sealed  []byte
		want    error
	}{
		{"other purpose", b, "agent-ca", sealed, atrest.ErrKey},
		{"other key", other, "signing-key", sealed, atrest.ErrKey},
		{"changed nonce", b, "signing-key", changed(1), atrest.ErrKey},
		{"changed text", b, "signing-key", changed(14), atrest.ErrKey},
		{"changed tag", b, "signing-key", changed(len(sealed) - 1), atrest.ErrKey},
		{"unknown version", b, "signing-key", changed(0), atrest.ErrFormat},
		{"cut", b, "signing-key", sealed[:20], atrest.ErrFormat},
		{"empty", b, "signing-key", nil, atrest.ErrFormat},
		{"too long", b, "signing-key", bytes.Repeat([]byte{1}, atrest.MaxSecret+100), atrest.ErrFormat},
	} {
		if opened, err := c.box.Open(c.purpose, c.sealed); !errors.Is(err, c.want) || opened != nil {
			t.Errorf("%s: got %q, %v; want %v", c.name, opened, err, c.want)
		}
	}
	if _, err := b.Seal("", []byte("secret")); err == nil {
		t.Error("sealed without a purpose")
	}
	if _, err := b.Seal("p", make([]byte, atrest.MaxSecret+1)); err == nil {
		t.Error("sealed more than the limit")
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	first, err := atrest.OpenOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != atrest.KeySize {
		t.Fatalf("key file: %v, %v", info, err)
	}
	sealed, err := first.Seal("p", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := atrest.OpenOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := again.Open("p", sealed); err != nil || string(opened) != "secret" {
		t.Errorf("a second start opened %q, %v", opened, err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("%d files lie in the folder, want the key alone", len(entries))
	}
	raw, _ := os.ReadFile(path)
	for _, printed := range []string{fmt.Sprintf("%v", again), fmt.Sprintf("%+v", again), fmt.Sprintf("%#v", again), again.String()} {
		if strings.Contains(printed, string(raw[:8])) || strings.Contains(printed, fmt.Sprint(raw[:4])[1:]) {
			t.Errorf("printing a box shows its key: %q", printed)
		}
	}
}

func TestKeyFileRefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(path string) error
		want string
	}{
		{"readable by the group", func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte{7}, 32), 0o640) }, "chmod 600"},
		{"too short", func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte{7}, 31), 0o600) }, "exactly 32 bytes"},
		{"too long", func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte{7}, 33), 0o600) }, "exactly 32 bytes"},
		{"zeros", func(p string) error { return os.WriteFile(p, make([]byte, 32), 0o600) }, "zeros"},
		{"a folder", func(p string) error { return os.Mkdir(p, 0o700) }, "not a regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			if _, err := atrest.OpenOrCreate(path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a refusal with %q", err, c.want)
			}
		})
	}
	_, err := atrest.OpenOrCreate(filepath.Join(t.TempDir(), "absent", "key"))
	if err == nil || !strings.Contains(err.Error(), "create the folder") {
		t.Errorf("got %v, want the remedy", err)
	}
}

func TestOneKeyForAllWhoStartAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	boxes := make([]*atrest.Box, 16)
	var group sync.WaitGroup
	for i := range boxes {
		group.Go(func() {
			b, err := atrest.OpenOrCreate(path)
			if err != nil {
				t.Error(err)
			}
			boxes[i] = b
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	sealed, err := boxes[0].Seal("p", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range boxes {
		if _, err := b.Open("p", sealed); err != nil {
			t.Errorf("box %d has another key", i)
		}
	}
}

func FuzzOpen(f *testing.F) {
	b := box(f)
	sealed, err := b.Seal("p", []byte("secret"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:29])
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		opened, err := b.Open("p", data)
		if err == nil && !bytes.Equal(data, sealed) {
			t.Fatalf("opened a forgery: %q", opened)
		}
		if err != nil && !errors.Is(err, atrest.ErrFormat) && !errors.Is(err, atrest.ErrKey) {
			t.Fatalf("an unknown error: %v", err)
		}
	})
}
