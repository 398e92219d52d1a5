package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// Revocations returns the handler of [wire.RevocationsPath]: the revocation list of one issuer, in DER, for others that meet agents'
// certificates. It needs no credential: certificates name it. Here nothing depends on it.
func (g *Gateway) Revocations() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		issuer, ok := strings.CutSuffix(r.PathValue("list"), ".crl")
		if !ok {
			web.Error(w, r, fault.New(wire.NotFound, "no such page"))
			return
		}
		l, err := g.list(r, issuer, time.Now())
		if err != nil {
			web.Error(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/pkix-crl") // RFC 2585 §4.2
		w.Header().Set("Cache-Control", "public, max-age="+strconv.Itoa(int(revocationsFor.Seconds())))
		w.Header().Set("ETag", l.tag)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, "", l.made, strings.NewReader(string(l.der)))
	})
}

// list is a signed revocation list.
type list struct {
	der  []byte
	tag  string
	made time.Time
}

// lists keeps signed lists for a minute, so that strangers cannot have us sign without end.
type lists struct {
	mu sync.Mutex
	of map[string]list
}

func (g *Gateway) list(r *http.Request, issuer string, now time.Time) (list, error) {
	g.lists.mu.Lock()
	defer g.lists.mu.Unlock()
	if l, ok := g.lists.of[issuer]; ok && now.Sub(l.made) < revocationsFor {
		return l, nil
	}
	der, err := g.fleet.Revocations(r.Context(), issuer, now)
	if err != nil {
		return list{}, err
	}
	sum := sha256.Sum256(der)
	l := list{der, `"` + hex.EncodeToString(sum[:16]) + `"`, now}
	if len(g.lists.of) >= maxLists {
		clear(g.lists.of)
	}
	g.lists.of[issuer] = l
	return l, nil
}
