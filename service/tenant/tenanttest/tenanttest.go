// Package tenanttest holds what the tests of every store share: tenants to work with, and the proof that a store fails
// closed on the zero scope.
package tenanttest

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/tenant"
)

// Now is a time for tests that do not care which.
var Now = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// New makes a tenant in d.
func New(t testing.TB, d *db.DB, name string) tenant.Tenant {
	t.Helper()
	made, err := tenant.NewStore(d).CreateTenant(context.Background(), tenant.NewTenant{Name: name}, Now)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// Directory makes a directory of a tenant in d.
func Directory(t testing.TB, d *db.DB, scope tenant.Scope, name string) tenant.Directory {
	t.Helper()
	made, err := tenant.NewStore(d).CreateDirectory(context.Background(), scope, name, false, Now)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// FailsClosed calls every exported method of store that takes a [tenant.Scope] with the zero one, and with zero values for
// everything else, and wants [tenant.ErrNoScope] from each. It fails when it finds fewer than least such methods, so that
// a method cannot escape by losing its scope unnoticed.
func FailsClosed(t *testing.T, store any, least int) {
	t.Helper()
	scope := reflect.TypeFor[tenant.Scope]()
	v := reflect.ValueOf(store)
	tried := 0
	for i := range v.NumMethod() {
		name, method := v.Type().Method(i).Name, v.Method(i)
		scoped := false
		args := make([]reflect.Value, method.Type().NumIn())
		for j := range args {
			in := method.Type().In(j)
			scoped = scoped || in == scope
			args[j] = reflect.Zero(in)
			if in == reflect.TypeFor[context.Context]() {
				args[j] = reflect.ValueOf(t.Context())
			}
		}
		if !scoped {
			continue
		}
		tried++
		results := method.Call(args)
		err, _ := results[len(results)-1].Interface().(error)
		if !errors.Is(err, tenant.ErrNoScope) {
			t.Errorf("%s with the zero scope: %v, want ErrNoScope", name, err)
		}
		for _, r := range results[:len(results)-1] {
			if !r.IsZero() {
				t.Errorf("%s with the zero scope returns %v", name, r)
			}
		}
	}
	if tried < least {
		t.Errorf("%T has %d methods that take a scope, want at least %d", store, tried, least)
	}
}
