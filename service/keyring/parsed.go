package keyring

import (
	"crypto"
	"sync"
)

// parsed keeps private keys that were unsealed and parsed already: unsealing an RSA key costs more than signing with ES256.
// It is bounded; when it is full, any one key leaves, which costs that tenant one unsealing. Keys are told apart by tenant
// and id, and an id (a thumbprint) never changes its key, so nothing here can be stale.
type parsed struct {
	mu   sync.Mutex
	keys map[parsedID]crypto.Signer
}

type parsedID struct{ tenant, id string }

func (p *parsed) get(id parsedID) (crypto.Signer, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, ok := p.keys[id]
	return k, ok
}

func (p *parsed) put(id parsedID, key crypto.Signer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		p.keys = map[parsedID]crypto.Signer{}
	}
	if _, there := p.keys[id]; !there && len(p.keys) >= maxParsed {
		for other := range p.keys {
			delete(p.keys, other)
			break
		}
	}
	p.keys[id] = key
}

func (p *parsed) drop(id parsedID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.keys, id)
}
