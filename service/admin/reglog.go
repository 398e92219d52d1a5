package admin

import (
	"context"
	"encoding/hex"
	"net/http"
	"strconv"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/reglog"
	"github.com/sallyport-auth/sallyport/wire"
)

// entryJSON shows a stored entry. One that somebody has altered until it is none any more is a broken log.
func entryJSON(s reglog.Stored) (LogEntry, error) {
	e, err := reglog.DecodeEntry(s.Text)
	if err != nil {
		return LogEntry{}, fault.Newf(wire.LogBroken, "entry %d %v", s.Index, err)
	}
	return LogEntry{Chain: hex.EncodeToString(s.Chain), Entry: LogChange{Index: e.Index, Time: e.Time, Event: e.Event,
		Actor: LogActor(e.Actor), Agent: e.Agent, AgentName: e.AgentName, Directory: e.Directory, Serial: e.Serial,
		Certificate: e.Certificate, KeyID: e.KeyID, Token: e.Token, Detail: e.Detail}}, nil
}

func (a *API) listEntries(ctx context.Context, r *request) (int, any, error) {
	after, limit, err := r.window()
	if err != nil {
		return 0, nil, err
	}
	from := int64(0)
	if after != "" {
		if from, err = entryIndex(after); err != nil {
			return 0, nil, err
		}
		from++
	}
	rows, err := a.cfg.Log.List(ctx, r.scope, from, limit)
	if err != nil {
		return 0, nil, err
	}
	items := make([]LogEntry, len(rows))
	for i, row := range rows {
		if items[i], err = entryJSON(row); err != nil {
			return 0, nil, err
		}
	}
	return page(items, limit, func(x LogEntry) LogEntry { return x }, func(x LogEntry) string { return strconv.FormatInt(x.Entry.Index, 10) })
}

// entryIndex reads the index of an entry; the largest of all cannot be counted on from.
func entryIndex(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 62)
	if err != nil || n < 0 {
		return 0, fault.New(wire.BadRequest, "entries are counted from 0")
	}
	return n, nil
}

func (a *API) showEntry(ctx context.Context, r *request) (int, any, error) {
	index, err := entryIndex(r.PathValue("entry"))
	if err != nil {
		return 0, nil, fault.New(wire.NotFound, "no such entry")
	}
	p, err := a.cfg.Log.Prove(ctx, r.scope, index, r.now)
	if err != nil {
		return 0, nil, err
	}
	shown, err := entryJSON(p.Stored)
	if err != nil {
		return 0, nil, err
	}
	out := LogProof{Chain: shown.Chain, Entry: shown.Entry, Checkpoint: p.Checkpoint.Note, Proof: []string{}}
	for _, h := range p.Hashes {
		out.Proof = append(out.Proof, h.String())
	}
	return http.StatusOK, out, nil
}

func (a *API) showCheckpoint(ctx context.Context, r *request) (int, any, error) {
	c, key, err := a.cfg.Log.Checkpoint(ctx, r.scope, r.now)
	return shown(http.StatusOK, c, err, func(c reglog.Checkpoint) LogCheckpoint {
		return LogCheckpoint{Log: c.Origin, Size: c.Size, Root: c.Root.String(), Key: key, Checkpoint: c.Note}
	})
}
