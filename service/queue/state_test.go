package queue

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func TestNext(t *testing.T) {
	legal := map[State]map[Event]State{
		Asked:     {Offering: Offered, Losing: Lost},
		Offered:   {Sealing: Sealed, Losing: Lost},
		Sealed:    {Delivering: Delivered, Refusing: Refused, Losing: Lost},
		Delivered: {Fencing: Fenced, Answering: Answered, Refusing: Refused, Losing: Lost},
		Fenced:    {Answering: Answered, Refusing: Lost, Losing: Lost},
		Answered:  {},
		Refused:   {},
		Lost:      {},
	}
	for s := Asked; s <= Lost; s++ {
		for e := Offering; e <= Losing; e++ {
			got, err := Next(s, e)
			want, ok := legal[s][e]
			switch {
			case ok && (err != nil || got != want):
				t.Errorf("%s + %s = %s, %v; want %s", s, e, got, err, want)
			case !ok && (!errors.Is(err, ErrIllegalMove) || got != s):
				t.Errorf("%s + %s = %s, %v; want a refusal that changes nothing", s, e, got, err)
			}
		}
	}
	if State(99).String() != "state(99)" || Event(99).String() != "event(99)" {
		t.Error("unknown states and events must print their number")
	}
}

func TestFenceAtMostOnceAndNeverAfterTheEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOf(rapid.IntRange(int(Offering), int(Losing))).Draw(t, "events")
		s, granted, over := Asked, 0, false
		for _, e := range events {
			next, err := Next(s, Event(e))
			if err == nil && Event(e) == Fencing {
				granted++
				if over {
					t.Fatalf("a fence was granted after the end, in %s", s)
				}
			}
			if next == Refused && granted > 0 {
				t.Fatal("refused, as if safe, after a fence")
			}
			s = next
			over = over || s.Final()
			if over && !s.Final() {
				t.Fatalf("%s came after a final state", s)
			}
		}
		if granted > 1 {
			t.Fatalf("%d fences granted", granted)
		}
	})
}
