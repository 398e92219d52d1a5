package password

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// believes is the rule of whose guess an attempt is besides the typed name's, by the word of the agent that looked the name up: the account's that it found,
// unless nobody asked for a look-up, or the name is somebody's here already. So an agent that lies can place only attempts at names that are nobody's
// here: whoever made one could have typed the victim's own name instead. And it cannot take an attempt away: the name counts, too.
func believes(attribute string, known user.User, whose envelope.Account) bool {
	return attribute != "" && known.ID == "" && whose != envelope.Account{}
}

// holder is whose account it is for lockout: the user's with this objectGUID, or, of somebody who has never signed in, the entry's.
func (k *check) holder(ctx context.Context, anchor string) (account string, err error) {
	u, err := k.users.ByAnchor(ctx, k.scope, k.domain.DirectoryID, anchor)
	if fault.Has(err, wire.NotFound) {
		return "entry " + k.domain.DirectoryID + " " + anchor, nil // no name: those have an @ or a backslash in place of the space
	}
	if err != nil {
		return "", fmt.Errorf("password: looking for the user of an entry: %w", err)
	}
	return u.ID, nil
}

// onFence answers an agent's fence: go, unless the account that it found is held back under another of its names; nil when that cannot be told now.
// held says why it is held back.
func (k *check) onFence(ctx context.Context, sender *envelope.Sender, nonce []byte) (token []byte, held string) {
	ctx, cancel := context.WithTimeout(ctx, holdWithin)
	defer cancel()
	whose := sender.Whose(nonce)
	if !believes(k.domain.SignInAttribute, k.counted, whose) {
		return sender.GoToken(nonce), ""
	}
	account, err := k.holder(ctx, uuid.UUID(whose).String())
	if err == nil {
		held, err = k.join(ctx, account)
	}
	switch {
	case err != nil:
		k.log.ErrorContext(ctx, "an agent's fence is not granted: the account that it found cannot be looked at", "tenant", k.tenantID, "request", k.attempt.Request, "error", err)
		return nil, ""
	case held != "":
		return sender.HoldToken(nonce), held
	}
	k.found = account
	return sender.GoToken(nonce), ""
}

// join lets the check in among those of the account that were typed under other names, or says why it is held back. A probe, which counts nowhere, only looks.
func (k *check) join(ctx context.Context, account string) (held string, err error) {
	if held, err = k.locked(ctx, account); held != "" || err != nil || k.probe || k.joined[account] != nil {
		return held, err
	}
	waiting, cancel := context.WithTimeout(ctx, joinWithin)
	defer cancel()
	leave, err := k.inflight.enter(waiting, k.tenantID+"\x00"+account, func() (int, error) {
		return k.lockout.Budget(ctx, k.scope, account, time.Now())
	})
	if fault.Has(err, wire.TooManyRequests) {
		return "as many guesses at the account are under way, under all its names, as smart lockout lets through", nil
	}
	if err != nil {
		return "", err
	}
	if held, err = k.locked(ctx, account); held != "" || err != nil { // meanwhile
		leave()
		return held, err
	}
	if k.joined == nil {
		k.joined = map[string]func(){}
	}
	k.joined[account] = leave
	return "", nil
}

// locked says why an account that an agent found is held back; "" if it is not.
func (k *check) locked(ctx context.Context, account string) (why string, err error) {
	decision, err := k.lockout.Allow(ctx, k.scope, account, time.Now())
	if err != nil || !decision.Locked {
		return "", err
	}
	return "held back by smart lockout, which counts all names of the account, until " + decision.Until.UTC().Format(time.RFC3339), nil
}

// part leaves all accounts that the check has joined.
func (k *check) part() {
	for _, leave := range k.joined {
		leave()
	}
}

// guessed are the accounts for which a wrong password counts: the name's, and the one that the agent found.
func (k *check) guessed() []string {
	if k.found == "" {
		return []string{k.account}
	}
	return []string{k.account, k.found}
}

// accounts are those that a verdict concerns. A right password clears the account that the directory told, and the name unless that was taken for somebody
// else's: whose count is not its new owner's to clear.
func (k *check) accounts(ctx context.Context, v *wire.Verdict) ([]string, error) {
	switch {
	case v.Reason.Wrong():
		return k.guessed(), nil
	case v.Reason.Right() && v.Attributes != nil:
		told, err := k.holder(ctx, v.Attributes.Anchor)
		if err != nil {
			return nil, err
		}
		if told == k.account || k.alias {
			return []string{told}, nil
		}
		return []string{k.account, told}, nil
	}
	return []string{k.account}, nil
}
