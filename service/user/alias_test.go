package user

import (
	"testing"
	"time"
)

var told = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func TestCalledBy(t *testing.T) {
	u := User{SignInName: "ada@mail.example", SignInAttribute: "mail", SignInAt: told}
	for _, c := range []struct {
		name, attribute string
		u               User
		after           time.Duration
		want            bool
	}{
		{"just told", "mail", u, 0, true},
		{"the attribute in other letters", "Mail", u, time.Hour, true},
		{"the domain has another attribute now", "proxyAddresses", u, 0, false},
		{"the domain has none any more", "", u, 0, false},
		{"a month less a moment", "mail", u, aliasFor - 1, true},
		{"a month", "mail", u, aliasFor, false},
		{"a clock that was set back", "mail", u, -time.Hour, true},
		{"nobody ever told", "mail", User{}, 0, false},
		{"nobody ever told, and no attribute", "", User{}, 0, false},
	} {
		if got := c.u.CalledBy(c.attribute, told.Add(c.after)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestRecalled(t *testing.T) {
	later := told.Add(time.Hour)
	type name struct {
		name, attribute string
		at              time.Time
	}
	before := name{"ada@mail.example", "mail", told}
	for _, c := range []struct {
		what        string
		before      name
		told, asked string
		want        name
	}{
		{"not asked", before, "", "", before},
		{"told again", before, "ada@mail.example", "mail", name{"ada@mail.example", "mail", later}},
		{"changed", before, "lovelace@mail.example", "mail", name{"lovelace@mail.example", "mail", later}},
		{"taken away", before, "", "mail", name{}},
		{"another attribute tells another", before, "ada@other.example", "proxyaddresses", name{"ada@other.example", "proxyaddresses", later}},
		{"another attribute tells none", before, "", "proxyaddresses", before},
		{"the first", name{}, "ada@mail.example", "mail", name{"ada@mail.example", "mail", later}},
		{"never any", name{}, "", "mail", name{}},
	} {
		u := User{SignInName: c.before.name, SignInAttribute: c.before.attribute, SignInAt: c.before.at}.
			recalled(User{SignInName: c.told, SignInAttribute: c.asked, AttributesAt: later})
		if got := (name{u.SignInName, u.SignInAttribute, u.SignInAt}); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.what, got, c.want)
		}
	}
}
