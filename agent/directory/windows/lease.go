package windows

import (
	"context"
	"fmt"
	"sync/atomic"
)

// lease is one slot: the right to have Windows work on one thing. It goes back when its owner has dropped it and every call
// that was begun with it has returned.
type lease struct {
	users atomic.Int32
	free  func()
}

// lease waits for a slot.
func (v *Validator) lease(ctx context.Context) (*lease, error) {
	select {
	case v.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errSlots, context.Cause(ctx))
	}
	l := &lease{free: func() { <-v.slots }}
	l.users.Store(1)
	return l, nil
}

func (l *lease) drop() {
	if l.users.Add(-1) == 0 {
		l.free()
	}
}

// block waits for a call that cannot be stopped, no longer than ctx. The call goes on without its caller.
func block[T any](ctx context.Context, l *lease, call func() T) (T, error) {
	l.users.Add(1)
	done := make(chan T, 1)
	go func() {
		defer l.drop()
		done <- call()
	}()
	select {
	case r := <-done:
		return r, nil
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
