package main

import (
	"github.com/alecthomas/kong"

	"github.com/sallyport-auth/sallyport/cmd/completion"
)

// completionCommand prints a script that completes commands and flags.
type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is shown by --help.
func (completionCommand) Help() string {
	return `Examples:
  sallyport completion bash > /etc/bash_completion.d/sallyport
  sallyport completion zsh > ~/.zsh/completion.zsh        and source it in .zshrc after compinit
  sallyport completion fish > ~/.config/fish/completions/sallyport.fish`
}

// Run prints the script.
func (c completionCommand) Run(t *terminal, app *kong.Kong) error {
	completion.Write(t.out, c.Shell, app.Model)
	return nil
}
