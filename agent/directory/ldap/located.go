package ldap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport-auth/sallyport/agent/directory/locate"
)

// Located is what DNS said about the domain controllers of the domain.
type Located struct {
	Domain string
	// Site is the one that was asked for; Learned says that a domain controller has named it, not the settings.
	Site    string
	Learned bool
	// Found is the last answer that named somebody, and FoundAt its time; zero for none so far.
	Found   locate.Found
	FoundAt time.Time
	// LastError is why the last question led to nothing; it is empty when it did. What was found before stays in use.
	LastError   string
	LastErrorAt time.Time
}

// locator asks DNS again and again who the domain controllers are.
type locator struct {
	query locate.Query
	// find asks once; known are the hosts in use. adopt puts an answer to use. serving says whether anybody of those serves.
	find    func(ctx context.Context, q locate.Query, known []string) (locate.Found, error)
	adopt   func(locate.Found)
	serving func() bool
	// site asks a domain controller for this host's site; "" when it does not know one, or nobody could be asked.
	site func(context.Context) string
	log  *slog.Logger

	mu       sync.Mutex
	said     Located
	failures int // in a row
}

// run asks until ctx ends.
func (l *locator) run(ctx context.Context) {
	for ctx.Err() == nil {
		if l.look(ctx) == nil && l.learn(ctx) {
			_ = l.look(ctx) // what fails is written down
		}
		timer := time.NewTimer(l.rest())
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (l *locator) rest() time.Duration {
	serving := l.serving()
	l.mu.Lock()
	defer l.mu.Unlock()
	return lookWait(l.failures, serving)
}

// lookWait is the pause before DNS is asked again. It doubles with failures; with nobody who serves it is short, since the domain may have
// moved to other hosts.
func lookWait(failures int, serving bool) time.Duration {
	longest := lookEvery
	if !serving {
		longest = lookAlone
	}
	if failures == 0 {
		return longest
	}
	wait := lookAgain
	for range failures - 1 {
		if wait *= 2; wait >= longest {
			return longest
		}
	}
	return wait
}

// look asks once and puts the answer to use.
func (l *locator) look(ctx context.Context) error {
	l.mu.Lock()
	q := l.query
	if q.Site == "" {
		q.Site = l.said.Site
	}
	known := hosts(l.said.Found)
	l.mu.Unlock()
	found, err := l.find(ctx, q, known)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	now := time.Now()
	l.mu.Lock()
	before := l.said
	if err != nil {
		l.failures++
		l.said.LastError, l.said.LastErrorAt = err.Error(), now
		l.mu.Unlock()
		if before.LastError != err.Error() {
			l.log.Warn("DNS names no domain controllers", "domain", q.Domain, "err", err, "kept", len(before.Found.Targets))
		}
		return err
	}
	l.failures = 0
	l.said.Found, l.said.FoundAt, l.said.LastError, l.said.LastErrorAt = found, now, "", time.Time{}
	l.mu.Unlock()
	l.tell(q, before, found)
	l.adopt(found)
	return nil
}

// tell logs what is new in an answer.
func (l *locator) tell(q locate.Query, before Located, found locate.Found) {
	was, is := hosts(before.Found), hosts(found)
	slices.Sort(was)
	slices.Sort(is)
	if !slices.Equal(was, is) || before.LastError != "" {
		l.log.Info("domain controllers found", "domain", q.Domain, "site", q.Site, "hosts", is, "records", found.Records, "left_out", found.Beyond)
	}
	if len(found.Foreign) > 0 && !slices.Equal(before.Found.Foreign, found.Foreign) {
		l.log.Warn("names outside of the domain are not used; give such a domain controller as --dc", "domain", q.Domain, "names", found.Foreign)
	}
	if found.SiteUnknown && !before.Found.SiteUnknown {
		l.log.Warn("DNS knows no domain controllers of the site", "domain", q.Domain, "site", q.Site)
	}
}

// learn asks a domain controller for the site, unless the settings name one. It returns whether there is a new one.
func (l *locator) learn(ctx context.Context) bool {
	if l.query.Site != "" {
		return false
	}
	site := l.site(ctx)
	if site == "" || (locate.Query{Domain: l.query.Domain, Site: site}).Check() != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh := !strings.EqualFold(site, l.said.Site)
	if fresh {
		l.said.Site, l.said.Learned = site, true
	}
	return fresh
}

func (l *locator) status() Located {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said
}

// site asks the server that is chosen in which site this host is; "" when it does not know.
func (v *Validator) site(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, fenceWithin)
	defer cancel()
	c, err := v.take(ctx)
	if err != nil {
		return ""
	}
	defer c.server.put(c)
	var site string
	_ = c.within(ctx, pingTimeout, func() error {
		r, err := c.ldap.Search(&goldap.SearchRequest{Scope: goldap.ScopeBaseObject, Filter: locate.Filter(v.locator.query.Domain),
			Attributes: []string{"netlogon"}, SizeLimit: 1, EnforceSizeLimit: true})
		if err == nil && len(r.Entries) == 1 {
			if a, err := locate.ParseNetlogon(r.Entries[0].GetRawAttributeValue("netlogon")); err == nil {
				site = a.ClientSite
			}
		}
		return err
	})
	return site
}

func hosts(f locate.Found) []string {
	var all []string
	for _, t := range f.Targets {
		all = append(all, t.Host)
	}
	return all
}

// stranger is a found server that does not serve the domain whose name it was found by.
type stranger struct{ shown, domain string }

func (s stranger) Error() string {
	if s.shown == "" {
		return fmt.Sprintf("DNS names it for %s, and it tells no domain: it is no domain controller", s.domain)
	}
	return fmt.Sprintf("DNS names it for %s, and it serves %s", s.domain, s.shown)
}

// errNobody is for a check that comes before DNS has named anybody.
var errNobody = errors.New("no domain controller is found yet")
