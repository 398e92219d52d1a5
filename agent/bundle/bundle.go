// Package bundle packs what support needs to know of an agent's host into one archive, without what it must not know: secrets are taken
// out, and names of people become pseudonyms that are the same throughout one archive and in no other, so that lines can be put together.
//
//	files ─▶ learn the names in all of them ─▶ take out secrets, replace names ─▶ tar.gz
//
// Kept are addresses of domain controllers, proxies and the service, domains, numbers, traces and times: without them nobody could help.
// It refuses to read anything: whoever calls says what goes in, and never hands over a file of keys.
//
// The command line calls it.
package bundle

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"time"
)

// File is one file of an archive.
type File struct {
	Name, Text string
}

// Write masks the files with pseudonyms of their own and writes the archive. Folder is the one folder that everything lies in, now the
// time that the files bear.
func Write(w io.Writer, folder string, files []File, now time.Time) error {
	m := NewMasker()
	for _, f := range files {
		m.Learn(f.Text)
	}
	zipped := gzip.NewWriter(w)
	archive := tar.NewWriter(zipped)
	for _, f := range files {
		text := m.Mask(f.Text)
		err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: folder + "/" + f.Name, Size: int64(len(text)), Mode: 0o600, ModTime: now})
		if err == nil {
			_, err = io.WriteString(archive, text)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return zipped.Close()
}
