package main

import "github.com/alecthomas/kong"

// words is a flag that may be repeated, one text each time; commas are part of the text. Kong's own slices cannot tell "not
// given" from "given empty", and pointers to slices keep only the last.
type words struct {
	list []string
	set  bool
}

// Decode is called by kong each time the flag is met.
func (w *words) Decode(ctx *kong.DecodeContext) error {
	var text string
	if err := ctx.Scan.PopValueInto("text", &text); err != nil {
		return err
	}
	w.set = true
	if text != "" {
		w.list = append(w.list, text)
	}
	return nil
}

// given returns nil when the flag was not given, and an empty list when it was given empty.
func (w words) given() *[]string {
	if !w.set {
		return nil
	}
	list := append([]string{}, w.list...)
	return &list
}
