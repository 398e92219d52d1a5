package reglog

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is a signed statement of how many entries a log has, and of the root over them.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash
	// Note is the signed text as it leaves the service (C2SP tlog-checkpoint).
	Note string
}

// OriginOf names a tenant's log, in checkpoints and as the name of its key.
func OriginOf(trustDomain, tenantID string) string { return trustDomain + "/tenant/" + tenantID }

func body(origin string, size int64, root tlog.Hash) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root[:]))
}

// newKey makes a signing key and its verifier key.
func newKey(origin string) (private, public string, err error) {
	if private, public, err = note.GenerateKey(rand.Reader, origin); err != nil {
		return "", "", fmt.Errorf("reglog: making a key: %w", err)
	}
	return private, public, nil
}

func sign(private, origin string, size int64, root tlog.Hash) (Checkpoint, error) {
	signer, err := note.NewSigner(private)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("reglog: reading the checkpoint key: %w", err)
	}
	text, err := note.Sign(&note.Note{Text: body(origin, size, root)}, signer)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("reglog: signing: %w", err)
	}
	return Checkpoint{Origin: origin, Size: size, Root: root, Note: string(text)}, nil
}

// OpenCheckpoint checks a checkpoint's signature against a verifier key and reads it. Its origin must be the key's name.
func OpenCheckpoint(text, key string) (Checkpoint, error) {
	if len(text) > maxCheckpoint {
		return Checkpoint{}, errors.New("it is too long for a checkpoint")
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("the verifier key %q cannot be read", key)
	}
	n, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("it is not signed by %s: %w", key, err)
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return c, err
	}
	if c.Origin != verifier.Name() {
		return c, fmt.Errorf("it is of the log %s, and the key of %s", c.Origin, verifier.Name())
	}
	c.Note = text
	return c, nil
}

// parseCheckpoint reads the text of a note. Lines beyond the third are extensions, which C2SP allows and nobody here writes.
func parseCheckpoint(text string) (c Checkpoint, err error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 {
		return c, errors.New("it has not the three lines of a checkpoint")
	}
	c.Origin = lines[0]
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size < 0 || strconv.FormatInt(c.Size, 10) != lines[1] {
		return c, fmt.Errorf("its size %.40q is no number", lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize || c.Origin == "" {
		return c, errors.New("its root is no hash")
	}
	copy(c.Root[:], root)
	return c, nil
}

// KeyName returns the log that a verifier key is of, and an error for what is no key.
func KeyName(key string) (string, error) {
	v, err := note.NewVerifier(key)
	if err != nil {
		return "", fmt.Errorf("%.80q is no verifier key: it looks like NAME+HASH+KEY (sallyport log key shows it)", key)
	}
	return v.Name(), nil
}
