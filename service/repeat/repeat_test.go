package repeat

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestEvery: a look each interval and none before; an error is told and ends nothing; a long look is followed by one, not by all that were missed.
func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, wrong := time.Now(), errors.New("wrong")
		ctx, cancel := context.WithCancel(t.Context())
		var looks []time.Duration
		var told []error
		done := make(chan struct{})
		go func() {
			defer close(done)
			Every(ctx, 10*time.Second, func(context.Context) error {
				looks = append(looks, time.Since(began))
				switch len(looks) {
				case 2:
					return wrong
				case 3:
					time.Sleep(35 * time.Second) // on the test's clock
				}
				return nil
			}, func(err error) { told = append(told, err) })
		}()
		time.Sleep(75 * time.Second)
		cancel()
		<-done
		if want := []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second, 65 * time.Second, 70 * time.Second}; !slices.Equal(looks, want) {
			t.Errorf("looked at %v, want %v", looks, want)
		}
		if len(told) != 1 || !errors.Is(told[0], wrong) {
			t.Errorf("told %v", told)
		}
	})
}

// TestEveryEnds: with its context, in the middle of a pause as in the middle of a look, whose error is then nobody's business.
func TestEveryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			Every(ctx, time.Second, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, func(err error) { t.Errorf("told %v", err) })
		}()
		time.Sleep(2 * time.Second)
		cancel()
		<-done
		Every(ctx, time.Hour, func(context.Context) error { t.Error("looked after the end"); return nil }, func(error) {})
	})
}
