package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/sallyport-auth/sallyport/service/admin"
	"github.com/sallyport-auth/sallyport/wire"
)

const (
	// followEvery is how often signin follow asks: what a person at a screen takes for at once.
	followEvery = 2 * time.Second
	// followBack is how far each of its questions reaches back. A record has the time at which its password was posted and is
	// written when the sign-in is decided, at most 15 s later.
	followBack = 30 * time.Second
	// followPage is the most records of one question, as many as the API gives.
	followPage = 500
)

type signinCommand struct {
	List   signinList   `cmd:"" help:"List sign-ins, newest first."`
	Show   signinShow   `cmd:"" help:"Show everything of one sign-in: what its number means, what to do, where its time went."`
	Follow signinFollow `cmd:"" help:"Print sign-ins as they happen, until interrupted; with -o json one JSON object a line."`
}

// signinFilter says whose sign-ins are wanted.
type signinFilter struct {
	User string `help:"Only this user's, by sign-in name or id."`
	Name string `help:"Only this name, exactly as it was typed."`
}

// query is the filter as the API takes it; a zero since and an empty trace do not filter.
func (f signinFilter) query(limit int, trace string, since time.Time) string {
	q := url.Values{"limit": {fmt.Sprint(limit)}}
	for key, value := range map[string]string{"trace": trace, "user": f.User, "name": f.Name} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if !since.IsZero() {
		q.Set("since", since.UTC().Format(time.RFC3339Nano))
	}
	return "?" + q.Encode()
}

type signinList struct {
	tenantFlags
	signinFilter
	Trace string        `help:"The trace id that the person saw."`
	Since time.Duration `help:"Only the last 15m, 24h …"`
	Limit int           `default:"50" help:"At most so many (1 to 500)."`
}

func (c signinList) Run(ctx context.Context, t *terminal) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	var since time.Time
	if c.Since > 0 {
		since = time.Now().Add(-c.Since)
	}
	var page admin.Page[admin.SignIn]
	if err := client.Do(ctx, http.MethodGet, c.path("signins")+c.query(c.Limit, c.Trace, since), nil, &page); err != nil {
		return err
	}
	return printList(t.out, c.Output, page.Items, []column[admin.SignIn]{
		{"time", func(x admin.SignIn) string { return x.At.Local().Format("2006-01-02 15:04:05") }},
		{"name", func(x admin.SignIn) string { return x.Name }}, {"outcome", func(x admin.SignIn) string { return x.Outcome }},
		{"code", codeText}, {"reason", func(x admin.SignIn) string { return x.Reason }},
		{"agent", agentText}, {"dc", func(x admin.SignIn) string { return x.DC }},
		{"trace", func(x admin.SignIn) string { return x.Trace }}})
}

// codeText is a sign-in's number; one that went well has none.
func codeText(x admin.SignIn) string {
	if x.Code == 0 {
		return ""
	}
	return x.Code.String()
}

// agentText is the agent's name, or the id of one that is gone.
func agentText(x admin.SignIn) string { return cmp.Or(x.AgentName, x.Agent) }

type signinShow struct {
	tenantFlags
	Trace string `arg:"" help:"The trace id that the person saw."`
}

func (c signinShow) Run(ctx context.Context, t *terminal) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	var page admin.Page[admin.SignIn]
	if err := client.Do(ctx, http.MethodGet, c.path("signins")+signinFilter{}.query(followPage, c.Trace, time.Time{}), nil, &page); err != nil {
		return err
	}
	if len(page.Items) == 0 {
		return fmt.Errorf("tenant %s has no sign-in with trace id %q", c.Tenant, c.Trace)
	}
	for i, x := range page.Items { // nearly always one
		if c.Output == "json" {
			err = printJSON(t.out, x)
		} else {
			err = printSignIn(t.out, x, i > 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stopWords say what was reached at each stop.
var stopWords = map[string]string{"asked": "the gateways are asked who can check the password", "offered": "a gateway offers an agent, with a slot reserved",
	"sealed": "the password is sealed to that agent", "delivered": "the sealed question is on its way to the agent",
	"agent-opened": "by the agent's word: it has opened the question", "fenced": "the agent is about to ask the domain controller: the try may count there from here on, unless the code says that nothing was sent",
	"agent-fenced": "by the agent's word: it may ask, and does", "agent-judged": "by the agent's word: the domain controller has answered",
	"answered": "the agent has answered", "confirmed": "a second agent was asked about the yes", "done": "decided"}

// printSignIn prints a sign-in for people: the facts, what its number means, and the stops on its way.
func printSignIn(w io.Writer, x admin.SignIn, more bool) error {
	if more {
		fmt.Fprintln(w)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fact := func(name, value string) {
		if value != "" {
			fmt.Fprintf(tw, "%s\t%s\n", name, printable(value))
		}
	}
	fact("time", x.At.Local().Format("2006-01-02 15:04:05.000 -07:00"))
	fact("name", x.Name)
	fact("name form", x.NameForm)
	fact("user", x.User)
	fact("app", x.App)
	fact("address", x.Address)
	fact("outcome", x.Outcome)
	if entry, known := wire.Lookup(x.Code); x.Code != 0 && known {
		fact("code", entry.Code.String()+" "+entry.Name)
		fact("meaning", entry.Meaning)
		fact("what to do", entry.Remedy)
	} else if x.Code != 0 {
		fact("code", x.Code.String()+" (not in the catalogue of this version)")
	}
	fact("reason", x.Reason)
	fact("diagnostic", x.Diagnostic)
	fact("directory", x.Directory)
	if x.AgentName != "" {
		fact("agent", x.AgentName+" ("+x.Agent+")")
	} else {
		fact("agent", x.Agent)
	}
	fact("gateway", x.Gateway)
	fact("dc", x.DC)
	fact("trace", x.Trace)
	if err := tw.Flush(); err != nil || len(x.Stops) == 0 {
		return err
	}
	if _, err := fmt.Fprintf(w, "\n       at      after\n%9.1f ms            posted        the password is posted\n", 0.0); err != nil {
		return err
	}
	before := int64(0)
	for _, s := range slices.SortedStableFunc(slices.Values(x.Stops), func(a, b admin.Stop) int { return cmp.Compare(a.Micros, b.Micros) }) {
		if _, err := fmt.Fprintf(w, "%9.1f ms %+9.1f  %-12s  %s\n", float64(s.Micros)/1000, float64(s.Micros-before)/1000, printable(s.Name), stopWords[s.Name]); err != nil {
			return err
		}
		before = s.Micros
	}
	return nil
}

type signinFollow struct {
	tenantFlags
	signinFilter
}

func (c signinFollow) Run(ctx context.Context, t *terminal) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	var f follower
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		var page admin.Page[admin.SignIn]
		err := client.Do(ctx, http.MethodGet, c.path("signins")+c.query(followPage, "", f.since), nil, &page)
		var problem *admin.ProblemError
		switch {
		case ctx.Err() != nil:
			return nil // that is how following ends
		case err != nil && (!f.begun || errors.As(err, &problem) && problem.Status < http.StatusInternalServerError):
			return err
		case err != nil:
			fmt.Fprintln(t.err, "sallyport: asked in vain, asking on:", err)
		default:
			fresh, gap := f.take(page.Items)
			if gap {
				fmt.Fprintf(t.err, "sallyport: more than %d sign-ins at once: some are not shown. Follow one --user or --name\n", followPage)
			}
			for _, x := range fresh {
				if err := printFollowed(t.out, c.Output, x); err != nil {
					return err
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// follower knows which records were shown. The zero value has asked nothing yet.
type follower struct {
	begun bool
	since time.Time // of the next question
	shown map[string]bool
}

// take returns those of a page (newest first) that are new, oldest first; of the first page none is. gap tells that there were
// more new ones than a page holds.
func (f *follower) take(page []admin.SignIn) (fresh []admin.SignIn, gap bool) {
	shown := make(map[string]bool, len(page))
	for _, x := range slices.Backward(page) {
		shown[x.ID] = true
		if f.begun && !f.shown[x.ID] {
			fresh = append(fresh, x)
		}
	}
	gap = f.begun && len(page) >= followPage && !f.shown[page[len(page)-1].ID]
	if len(page) > 0 {
		f.since = page[0].At.Add(-followBack)
	}
	f.begun, f.shown = true, shown
	return fresh, gap
}

// printFollowed prints one sign-in on one line.
func printFollowed(w io.Writer, output string, x admin.SignIn) error {
	if output == "json" {
		return json.NewEncoder(w).Encode(x)
	}
	_, err := fmt.Fprintf(w, "%s  %-7s  %-5s  %s  agent %s  dc %s  %s\n", x.At.Local().Format("15:04:05"), printable(x.Outcome), printable(codeText(x)),
		printable(x.Name), printable(agentText(x)), printable(x.DC), printable(x.Trace))
	return err
}
