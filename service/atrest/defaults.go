package atrest

const (
	// KeySize is the size of the key file in bytes: AES-256, and the output of HKDF-SHA256.
	KeySize = 32

	// MaxSecret bounds what is sealed: a PKCS #8 RSA-4096 key has 2.4 KB, so anything near this is a mistake.
	MaxSecret = 64 << 10

	// version is the first byte of everything sealed: AES-256-GCM, 12-byte random nonce, HKDF-SHA256.
	version = 1

	nonceSize = 12
	tagSize   = 16
	overhead  = 1 + nonceSize + tagSize
)
