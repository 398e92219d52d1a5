package password

import (
	"context"
	"sync"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// inflight keeps checks of one account that run at the same time from going beyond its lockout budget together: while a
// check is under way it counts as if it were going to be wrong. Without this, a hundred guesses sent at once would all pass
// the question whether the account is locked before the first of them is settled. It holds within one process; with
// several, an account can be over its budget by one for each.
type inflight struct {
	mu       sync.Mutex
	accounts map[string]*account
}

// account exists while somebody is in or waits.
type account struct {
	in, waiting int
	door        chan struct{} // holds one: whoever decides whether to go in
	left        chan struct{} // closed and replaced whenever somebody leaves
}

// enter waits until one more check of the account fits into what budget allows at once, and returns how to leave, which must
// come after the check is settled. Alone, a check always fits, and budget is not asked. Faults: [wire.TooManyRequests] when too
// many wait already, or when ctx ends first.
//
// One at a time decides, and counts who is in before it asks for the budget: so a check that is settled in the meantime is
// counted at least once, as one that is in or as a failure.
func (f *inflight) enter(ctx context.Context, key string, budget func() (int, error)) (leave func(), err error) {
	a, err := f.wait(key)
	if err != nil {
		return nil, err
	}
	defer f.waited(key, a)
	late := func() error {
		return fault.Wrap(wire.TooManyRequests, "other checks of the account were not done in time", ctx.Err())
	}
	select {
	case a.door <- struct{}{}:
		defer func() { <-a.door }()
	case <-ctx.Done():
		return nil, late()
	}
	for {
		f.mu.Lock()
		in, left := a.in, a.left
		f.mu.Unlock()
		if in == 0 {
			break
		}
		n, err := budget()
		if err != nil {
			return nil, err
		}
		if in < n {
			break
		}
		select {
		case <-left:
		case <-ctx.Done():
			return nil, late()
		}
	}
	f.mu.Lock()
	a.in++ // while the door is still held
	f.mu.Unlock()
	return sync.OnceFunc(func() { f.leave(key, a) }), nil
}

// wait joins the line of an account.
func (f *inflight) wait(key string) (*account, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.accounts == nil {
		f.accounts = map[string]*account{}
	}
	a := f.accounts[key]
	if a == nil {
		a = &account{door: make(chan struct{}, 1), left: make(chan struct{})}
		f.accounts[key] = a
	}
	if a.waiting >= maxWaiting {
		return nil, fault.New(wire.TooManyRequests, "too many checks of one account at once")
	}
	a.waiting++
	return a, nil
}

// waited takes somebody out of the line.
func (f *inflight) waited(key string, a *account) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a.waiting--
	f.drop(key, a)
}

func (f *inflight) leave(key string, a *account) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a.in--
	close(a.left)
	a.left = make(chan struct{})
	f.drop(key, a)
}

// drop forgets an account that nobody is concerned with; f.mu is held.
func (f *inflight) drop(key string, a *account) {
	if a.in == 0 && a.waiting == 0 {
		delete(f.accounts, key)
	}
}
