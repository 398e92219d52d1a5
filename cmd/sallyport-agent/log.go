package main

import (
	"io"
	"log/slog"
)

// logFlags say how the log looks. It goes to standard error, for the service manager to keep.
type logFlags struct {
	LogLevel  string `help:"How much to log: debug, info, warn or error. Debug shows whole names; nothing ever shows a password." enum:"debug,info,warn,error" default:"info" placeholder:"LEVEL"`
	LogFormat string `help:"How to log: text or json." enum:"text,json" default:"text" placeholder:"FORMAT"`
}

// logHandler, if set, takes the log in place of standard error: Windows' event log, for a service.
var logHandler func(*slog.HandlerOptions) slog.Handler

func (f logFlags) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(f.LogLevel)) // kong has held it to the enum; the zero value is info
	options := &slog.HandlerOptions{Level: level}
	if logHandler != nil {
		return slog.New(logHandler(options))
	}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
