// Package completion prints shell scripts that complete a command line's commands and flags. It reads them from the model that kong
// parses with, so that the two cannot differ. It knows nothing of what the commands do; the programs of this product call it.
package completion

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Write prints the script for a shell: "zsh", "fish", and bash's for any other.
func Write(w io.Writer, shell string, app *kong.Application) {
	all := places(app.Node)
	switch shell {
	case "zsh":
		fmt.Fprintln(w, "autoload -U +X bashcompinit && bashcompinit")
		writeBash(w, app.Name, all)
	case "fish":
		writeFish(w, app.Name, all)
	default:
		writeBash(w, app.Name, all)
	}
}

// identifier makes a program's name fit for that of a shell function.
func identifier(program string) string { return strings.ReplaceAll(program, "-", "_") }

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
func writeBash(w io.Writer, program string, all []place) {
	fmt.Fprintf(w, `# Completion of %[1]s; made by "%[1]s completion".
_%[2]s() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="" at="" word i skip="" next flags
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="${COMP_WORDS[i]}"
    prev="$word"
    if [[ -n "$skip" ]]; then skip=""; prev=""; continue; fi
    case "$word" in
`, program, identifier(program))
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
	fmt.Fprintf(w, `  esac
  if [[ "$cur" == -* || -z "$next" ]]; then next="$flags"; fi
  COMPREPLY=($(compgen -W "$next" -- "$cur"))
}
complete -F _%s %s
`, identifier(program), program)
}

// writeFish prints the same for fish.
func writeFish(w io.Writer, program string, all []place) {
	fmt.Fprintf(w, `# Completion of %[1]s; made by "%[1]s completion".
function __%[2]s_at
    set -l at ""
    for word in (commandline -opc)[2..-1]
        switch "$at $word"
`, program, identifier(program))
	for _, p := range all {
		if p.path != "" {
			fmt.Fprintf(w, "            case %q\n                set at \"$at $word\"\n", p.path)
		}
	}
	fmt.Fprintf(w, `        end
    end
    test "$at" = "$argv[1]"
end
complete -c %s -f
`, program)
	for _, p := range all {
		condition := fmt.Sprintf("-n '__%s_at %q'", identifier(program), p.path)
		for _, next := range p.next {
			fmt.Fprintf(w, "complete -c %s %s -a %s\n", program, condition, next)
		}
		for _, flag := range p.flags {
			want := ""
			switch {
			case slices.Contains(p.files, flag):
				want = " -r -F"
			case slices.Contains(p.takes, flag):
				want = " -x"
			}
			fmt.Fprintf(w, "complete -c %s %s -l %s%s\n", program, condition, strings.TrimPrefix(flag, "--"), want)
		}
	}
}
