package localca

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// errMode is wrapped by refusals of a file or directory that is open to too many.
var errMode = errors.New("localca: permissions are too wide")

// errDamaged is wrapped by refusals of a file that does not hold what we wrote.
var errDamaged = errors.New("localca: the file is damaged")

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// checkMode refuses a path with any of the forbidden permission bits. Windows has no such bits: there the directory's own
// access list protects its files.
func checkMode(path string, forbidden fs.FileMode, remedy string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("localca: %w", err)
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&forbidden != 0 {
		return fmt.Errorf("%w: %s has %04o; correct it with: %s %s", errMode, path, mode, remedy, path)
	}
	return nil
}

// readPair reads a private key and its certificate from one file that only its owner may read.
func readPair(path string) (crypto.Signer, *x509.Certificate, error) {
	if err := checkMode(path, 0o077, "chmod 600"); err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("localca: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, nil, fmt.Errorf("localca: reading %s: %w", path, err)
	}
	defer clear(data)
	key, cert, err := parsePair(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s: %w", errDamaged, path, err)
	}
	return key, cert, nil
}

// parsePair reads one PKCS #8 key and one certificate in PEM, and proves that they belong together.
func parsePair(data []byte) (key crypto.Signer, cert *x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		switch block.Type {
		case "PRIVATE KEY":
			parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("reading the key: %w", err)
			}
			signer, ok := parsed.(crypto.Signer)
			if !ok || key != nil {
				return nil, nil, errors.New("expected exactly one signing key")
			}
			key = signer
		case "CERTIFICATE":
			if cert != nil {
				return nil, nil, errors.New("expected exactly one certificate")
			}
			if cert, err = x509.ParseCertificate(block.Bytes); err != nil {
				return nil, nil, fmt.Errorf("reading the certificate: %w", err)
			}
		default:
			return nil, nil, fmt.Errorf("unexpected PEM block %q", block.Type)
		}
	}
	if key == nil || cert == nil {
		return nil, nil, errors.New("expected a key and a certificate")
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(cert.PublicKey) {
		return nil, nil, errors.New("key and certificate do not belong together")
	}
	return key, cert, nil
}

func encodePair(key crypto.Signer, der []byte) ([]byte, error) {
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), encodeCertificate(der)...), nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// createFile puts data at path if nothing is there yet; being second is no error. A reader never sees half a file.
func createFile(path string, data []byte, mode fs.FileMode) error {
	temp, err := writeTemp(path, data, mode)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	if err := os.Link(temp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("localca: %w", err)
	}
	return nil
}

// replaceFile puts data at path in place of what is there. A reader sees the old or the new, never a mixture.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	temp, err := writeTemp(path, data, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("localca: %w", err)
	}
	return nil
}

// writeTemp writes a new file beside path; it is made with 0600 and widened only once it is complete.
func writeTemp(path string, data []byte, mode fs.FileMode) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return "", unwritable(filepath.Dir(path), err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return "", unwritable(filepath.Dir(path), err)
	}
	return f.Name(), nil
}

// unwritable says what to do about a folder that cannot be written.
func unwritable(dir string, err error) error {
	remedy := "its owner must be the user that runs the service"
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		remedy = "make room"
	case errors.Is(err, syscall.EROFS):
		remedy = "mount its file system writable"
	}
	return fmt.Errorf("localca: the folder %s cannot be written; %s: %w", dir, remedy, err)
}

func netIPs(addresses []netip.Addr) []net.IP {
	var out []net.IP
	for _, a := range addresses {
		out = append(out, a.AsSlice())
	}
	return out
}
