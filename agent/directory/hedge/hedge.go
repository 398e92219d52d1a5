// Package hedge tries several ways beside each other, so that one that is silent costs a moment and not its limit.
//
// It is for what may be done twice without harm, such as connecting. It refuses to know what is tried: a password is never.
// Package ldap chooses a domain controller by it, package locate an address of one.
package hedge

import (
	"context"
	"time"
)

// First returns the first result that one of n tries gives, begun in their order: the next one when one before has failed, or when patience is
// over without a result. What comes too late goes to giveBack. Without a result it returns the error of each try, nil for one that has not
// ended or not begun.
//
// When First returns, the context of the tries has ended. A try may take its time to notice, so that what it was about to learn is not lost.
func First[T any](ctx context.Context, n int, patience time.Duration, try func(ctx context.Context, i int) (T, error), giveBack func(T)) (T, []error) {
	ctx, cancel := context.WithCancel(ctx)
	type ended struct {
		i      int
		result T
		err    error
	}
	over, results := make(chan struct{}), make(chan ended)
	defer close(over)
	defer cancel()
	begun, running := 0, 0
	begin := func() {
		i := begun
		begun, running = begun+1, running+1
		go func() {
			result, err := try(ctx, i)
			select {
			case results <- ended{i, result, err}:
			case <-over:
				if err == nil {
					giveBack(result)
				}
			}
		}()
	}
	var none T
	failed := make([]error, n)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		if running == 0 {
			if begun == n || ctx.Err() != nil {
				return none, failed
			}
			begin()
			timer.Reset(patience)
		}
		select {
		case e := <-results:
			if e.err == nil {
				return e.result, nil
			}
			running--
			failed[e.i] = e.err
			if begun < n && running > 0 && ctx.Err() == nil {
				begin()
				timer.Reset(patience)
			}
		case <-timer.C:
			if begun < n {
				begin()
				timer.Reset(patience)
			}
		case <-ctx.Done():
			return none, failed
		}
	}
}
