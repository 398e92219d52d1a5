package envelope

import "sync"

// Memo remembers public keys that were parsed: parsing one takes a third of sealing to it, and a service seals to the same few all day.
// The zero value is ready. Safe for concurrent use.
type Memo struct {
	mu   sync.RWMutex
	keys map[memoKey]PublicKey
}

type memoKey struct {
	suite Suite
	raw   string
}

// Parse is [ParsePublicKey], remembered. What cannot be parsed is not.
func (m *Memo) Parse(suite Suite, raw []byte) (PublicKey, error) {
	m.mu.RLock()
	key, ok := m.keys[memoKey{suite, string(raw)}]
	m.mu.RUnlock()
	if ok {
		return key, nil
	}
	key, err := ParsePublicKey(suite, raw)
	if err != nil {
		return PublicKey{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys == nil || len(m.keys) >= memoLimit {
		m.keys = map[memoKey]PublicKey{}
	}
	m.keys[memoKey{suite, string(raw)}] = key
	return key, nil
}
