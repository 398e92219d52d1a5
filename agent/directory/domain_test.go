package directory_test

import (
	"testing"

	"github.com/sallyport-auth/sallyport/agent/directory"
)

func TestDomainIs(t *testing.T) {
	corp := directory.Domain{NamingContext: "DC=corp,DC=example", GUID: "6fe5fd33-24c9-4b01-9d54-0a1f9d4f8b11", SID: "S-1-5-21-1-2-3"}
	with := func(change func(*directory.Domain)) directory.Domain {
		d := corp
		change(&d)
		return d
	}
	silent := with(func(d *directory.Domain) { d.GUID, d.SID = "", "" })
	for name, c := range map[string]struct {
		a, b directory.Domain
		want bool
	}{
		"itself":                      {corp, corp, true},
		"by another DC":               {corp, with(func(d *directory.Domain) { d.DC = "dc2" }), true},
		"renamed":                     {corp, with(func(d *directory.Domain) { d.NamingContext = "DC=other,DC=example" }), true},
		"GUID in capitals":            {corp, with(func(d *directory.Domain) { d.GUID = "6FE5FD33-24C9-4B01-9D54-0A1F9D4F8B11" }), true},
		"built anew under its name":   {corp, with(func(d *directory.Domain) { d.GUID = "00000000-24c9-4b01-9d54-0a1f9d4f8b11" }), false},
		"another SID":                 {corp, with(func(d *directory.Domain) { d.SID = "S-1-5-21-1-2-4" }), false},
		"one of the two says no GUID": {corp, silent, false},
		"neither says a GUID":         {silent, with(func(d *directory.Domain) { d.NamingContext, d.GUID, d.SID = "dc=CORP,dc=example", "", "" }), true},
		"neither, other names":        {silent, directory.Domain{NamingContext: "DC=other,DC=example"}, false},
		"none":                        {directory.Domain{}, directory.Domain{}, false},
	} {
		if c.a.Is(c.b) != c.want || c.b.Is(c.a) != c.want {
			t.Errorf("%s: want %v", name, c.want)
		}
	}
}
