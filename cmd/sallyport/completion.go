package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
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

// Run prints the script for the command line that kong was built with, so that the two cannot differ.
func (c completionCommand) Run(t *terminal, app *kong.Kong) error {
	all := places(app.Model.Node)
	switch c.Shell {
	case "zsh":
		fmt.Fprintln(t.out, "autoload -U +X bashcompinit && bashcompinit")
		writeBash(t.out, all)
	case "fish":
		writeFish(t.out, all)
	default:
		writeBash(t.out, all)
	}
	return nil
}

// place is one command with what may follow it.
type place struct {
	path  string // " agent token create"; "" for the program itself
	next  []string
	flags []string
	// takes are the flags that want a value, in all their spellings, and files those among them whose value is a file.
	takes, files []string
}

// places lists the commands below a node.
func places(n *kong.Node) []place {
	var all []place
	var walk func(n *kong.Node, path string)
	walk = func(n *kong.Node, path string) {
		p := place{path: path}
		for _, group := range n.AllFlags(true) {
			for _, f := range group {
				p.add(f)
			}
		}
		for _, child := range n.Children {
			if child.Hidden {
				continue
			}
			p.next = append(p.next, child.Name)
		}
		if len(n.Positional) > 0 && n.Positional[0].Enum != "" {
			p.next = append(p.next, strings.Split(n.Positional[0].Enum, ",")...)
		}
		slices.Sort(p.flags)
		p.flags = slices.Compact(p.flags)
		all = append(all, p)
		for _, child := range n.Children {
			if !child.Hidden {
				walk(child, path+" "+child.Name)
			}
		}
	}
	walk(n, "")
	return all
}

// add takes a flag in.
func (p *place) add(f *kong.Flag) {
	name := "--" + f.Name
	p.flags = append(p.flags, name)
	if f.Tag.Negatable != "" {
		p.flags = append(p.flags, "--no-"+f.Name)
	}
	if f.IsBool() {
		return
	}
	spellings := []string{name}
	if f.Short != 0 {
		spellings = append(spellings, "-"+string(f.Short))
	}
	p.takes = append(p.takes, spellings...)
	if f.PlaceHolder == "FILE" || f.PlaceHolder == "DIR" {
		p.files = append(p.files, spellings...)
	}
}

// gather joins what all places say, without repetitions.
func gather(all []place, of func(place) []string) []string {
	var out []string
	for _, p := range all {
		out = append(out, of(p)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// writeBash prints a script for bash 3.2 and later: it walks over the words typed so far, and offers what fits there.
func writeBash(w io.Writer, all []place) {
	fmt.Fprint(w, `# Completion of sallyport; made by "sallyport completion".
_sallyport() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="" at="" word i skip="" next flags
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="${COMP_WORDS[i]}"
    prev="$word"
    if [[ -n "$skip" ]]; then skip=""; prev=""; continue; fi
    case "$word" in
`)
	fmt.Fprintf(w, "      %s) skip=1 ;;\n      -*) ;;\n      *) case \"$at $word\" in\n", strings.Join(gather(all, func(p place) []string { return p.takes }), "|"))
	for _, p := range all {
		if p.path != "" {
			fmt.Fprintf(w, "          %q) at=\"$at $word\" ;;\n", p.path)
		}
	}
	fmt.Fprintf(w, `        esac ;;
    esac
  done
  case "$prev" in
    %s) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")); return ;;
  esac
  if [[ -n "$skip" ]]; then COMPREPLY=(); return; fi
  case "$at" in
`, strings.Join(gather(all, func(p place) []string { return p.files }), "|"))
	for _, p := range all {
		fmt.Fprintf(w, "    %q) next=%q flags=%q ;;\n", p.path, strings.Join(p.next, " "), strings.Join(p.flags, " "))
	}
	fmt.Fprint(w, `  esac
  if [[ "$cur" == -* || -z "$next" ]]; then next="$flags"; fi
  COMPREPLY=($(compgen -W "$next" -- "$cur"))
}
complete -F _sallyport sallyport
`)
}

// writeFish prints the same for fish.
func writeFish(w io.Writer, all []place) {
	fmt.Fprint(w, `# Completion of sallyport; made by "sallyport completion".
function __sallyport_at
    set -l at ""
    for word in (commandline -opc)[2..-1]
        switch "$at $word"
`)
	for _, p := range all {
		if p.path != "" {
			fmt.Fprintf(w, "            case %q\n                set at \"$at $word\"\n", p.path)
		}
	}
	fmt.Fprint(w, `        end
    end
    test "$at" = "$argv[1]"
end
complete -c sallyport -f
`)
	for _, p := range all {
		condition := fmt.Sprintf("-n '__sallyport_at %q'", p.path)
		for _, next := range p.next {
			fmt.Fprintf(w, "complete -c sallyport %s -a %s\n", condition, next)
		}
		for _, flag := range p.flags {
			want := ""
			switch {
			case slices.Contains(p.files, flag):
				want = " -r -F"
			case slices.Contains(p.takes, flag):
				want = " -x"
			}
			fmt.Fprintf(w, "complete -c sallyport %s -l %s%s\n", condition, strings.TrimPrefix(flag, "--"), want)
		}
	}
}
