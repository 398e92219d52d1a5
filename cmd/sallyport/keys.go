package main

import (
	"context"
	"fmt"
	"net/http"
)

// keyCommand is about the keys that sign a tenant's tokens. They turn over by themselves.
type keyCommand struct {
	Rotate  keyRotate  `cmd:"" help:"Begin the succession of a signing key now; nothing breaks."`
	Replace keyReplace `cmd:"" help:"Replace stolen signing keys at once; tokens signed before are refused."`
}

type keyFlags struct {
	tenantFlags
	Algorithm string `enum:"ES256,RS256" required:"" help:"Which line of keys: ES256 or RS256."`
}

type keyRotate struct{ keyFlags }

func (c keyRotate) Run(ctx context.Context, t *terminal) error {
	return call[struct{}](ctx, t, c.apiFlags, http.MethodPost, c.path("keys", c.Algorithm, "rotate"), nil,
		"The next key is published and signs when every application can have fetched it.")
}

type keyReplace struct {
	keyFlags
	Yes bool `help:"Do it: tokens signed before are refused, and applications must fetch the keys anew."`
}

func (c keyReplace) Run(ctx context.Context, t *terminal) error {
	if !c.Yes {
		return &usageError{fmt.Errorf("replacing the %s keys makes applications refuse every token signed before. It is for keys that are known or "+
			"feared to be stolen; \"key rotate\" breaks nothing. Repeat with --yes", c.Algorithm)}
	}
	return call[struct{}](ctx, t, c.apiFlags, http.MethodPost, c.path("keys", c.Algorithm, "replace"), nil,
		"Keys replaced: a new one signs from now on.")
}
