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
	left        chan struct{} // closed and replaced whenever somebody leaves
}

// enter waits until one more check of the account fits into what budget allows at once, and returns how to leave. Alone, a
// check always fits, and budget is not asked. Faults: [wire.TooManyRequests] when too many wait already, or when ctx ends first.
func (f *inflight) enter(ctx context.Context, key string, budget func() (int, error)) (leave func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.accounts == nil {
		f.accounts = map[string]*account{}
	}
	a := f.accounts[key]
	if a == nil {
		a = &account{left: make(chan struct{})}
		f.accounts[key] = a
	}
	if a.waiting >= maxWaiting {
		return nil, fault.New(wire.TooManyRequests, "too many checks of one account at once")
	}
	a.waiting++
	defer func() {
		a.waiting--
		f.drop(key, a)
	}()
	for a.in > 0 {
		left := a.left
		f.mu.Unlock()
		n, err := budget()
		f.mu.Lock()
		if err != nil {
			return nil, err
		}
		if a.in < n {
			break
		}
		f.mu.Unlock()
		select {
		case <-left:
		case <-ctx.Done():
			err = fault.Wrap(wire.TooManyRequests, "other checks of the account were not done in time", ctx.Err())
		}
		f.mu.Lock()
		if err != nil {
			return nil, err
		}
	}
	a.in++
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		a.in--
		close(a.left)
		a.left = make(chan struct{})
		f.drop(key, a)
	}), nil
}

// drop forgets an account that nobody is concerned with; f.mu is held.
func (f *inflight) drop(key string, a *account) {
	if a.in == 0 && a.waiting == 0 {
		delete(f.accounts, key)
	}
}
