package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/sallyport-auth/sallyport/wire"
)

// maxSettings bounds the settings file; a full one is below 2 KB.
const maxSettings = 64 << 10

// settings are the flags that a YAML file sets. They rank below the command line and the environment.
type settings struct {
	values map[string]any
	// lines says where each key stands, for whoever has to correct it; path is the file.
	lines map[string]int
	path  string
	// instances are the sections below the key of that name, each with what it sets itself; within is the one that these settings are of.
	instances map[string]settings
	within    string
}

// names are those of the instances.
func (s settings) names() []string { return slices.Sorted(maps.Keys(s.instances)) }

// of returns the settings of one instance: its own, and for the rest those for all.
func (s settings) of(name string) settings {
	one := settings{values: maps.Clone(s.values), path: s.path, within: name}
	maps.Copy(one.values, s.instances[name].values)
	return one
}

// settingsFile reads the file that --config or SALLYPORT_AGENT_CONFIG names; without one the settings are empty. It looks
// at the arguments itself, because the file must be known before the rest of them is judged.
func settingsFile(args []string) (settings, error) {
	path := os.Getenv("SALLYPORT_AGENT_CONFIG")
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--config="); ok {
			path = value
		} else if arg == "--config" && i+1 < len(args) {
			path = args[i+1]
		} else if arg == "--" {
			break
		}
	}
	if path == "" {
		return settings{}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return settings{}, fmt.Errorf("settings: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	if err != nil {
		return settings{}, fmt.Errorf("settings: %w", err)
	}
	s, err := parseSettings(text)
	if err != nil {
		return settings{}, fmt.Errorf("settings in %s: %w", path, err)
	}
	s.path = path
	return s, nil
}

// parseSettings reads one YAML document: a mapping of flag names to scalars or lists of scalars, and of [instancesKey] to such mappings by name. Keys are unique, which the
// YAML library sees to.
func parseSettings(text []byte) (settings, error) {
	if len(text) > maxSettings {
		return settings{}, fmt.Errorf("larger than %d bytes", maxSettings)
	}
	var raw map[string]yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&raw); err != nil && !errors.Is(err, io.EOF) {
		return settings{}, err
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return settings{}, errors.New("more than one document")
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return settings{}, err
	}
	s := settings{values: map[string]any{}, lines: map[string]int{}}
	for _, mapping := range document.Content {
		s.locate(mapping)
	}
	if node, ok := raw[instancesKey]; ok {
		delete(raw, instancesKey)
		if err := s.readInstances(node); err != nil {
			return settings{}, err
		}
	}
	return s, s.read(raw)
}

// instancesKey is the one key that is no flag.
const instancesKey = "instances"

// notInInstance are the settings that are the process's, or follow from the instance's name.
var notInInstance = []string{"state", "instance", "log-level", "log-format"}

// readInstances reads the sections for the instances, of which there are at least one.
func (s *settings) readInstances(node yaml.Node) error {
	var sections map[string]yaml.Node
	if err := node.Decode(&sections); err != nil || len(sections) == 0 {
		return fmt.Errorf("line %d: %s: a mapping is needed, with the name of an instance before the settings of each", node.Line, instancesKey)
	}
	s.instances = map[string]settings{}
	for name, section := range sections {
		if !wire.IsInstance(name) {
			return fmt.Errorf("line %d: %s: %q is not a name of 1 to %d lower-case letters, digits and hyphens", section.Line, instancesKey, name, wire.MaxInstance)
		}
		var raw map[string]yaml.Node
		if err := section.Decode(&raw); err != nil && section.Kind == yaml.MappingNode {
			return fmt.Errorf("%s: %s: %w", instancesKey, name, err)
		} else if err != nil {
			return fmt.Errorf("line %d: %s: %s: a mapping of settings is needed", section.Line, instancesKey, name)
		}
		one := settings{values: map[string]any{}, lines: map[string]int{}, within: name}
		one.locate(&section)
		if err := one.read(raw); err != nil {
			return fmt.Errorf("%s: %s: %w", instancesKey, name, err)
		}
		for _, key := range notInInstance {
			if _, ok := one.values[key]; ok {
				return fmt.Errorf("line %d: %s: %s: %s cannot differ between instances", one.lines[key], instancesKey, name, key)
			}
		}
		s.instances[name] = one
	}
	if _, shared := s.lines["monitor"]; shared && len(sections) > 1 {
		return fmt.Errorf("line %d: %w", s.lines["monitor"], errSharedMonitor)
	}
	return nil
}

// locate notes where each key of a mapping stands.
func (s *settings) locate(mapping *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		s.lines[mapping.Content[i].Value] = mapping.Content[i].Line
	}
}

// read takes over the values of a mapping: scalars or lists of scalars.
func (s *settings) read(raw map[string]yaml.Node) error {
	for key, node := range raw {
		switch {
		case node.Kind == yaml.ScalarNode && node.Tag != "!!null":
			s.values[key] = node.Value
		case node.Kind == yaml.SequenceNode:
			var list []any
			for _, item := range node.Content {
				if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
					return fmt.Errorf("line %d: %s: a list of plain values is needed", item.Line, key)
				}
				list = append(list, item.Value)
			}
			s.values[key] = list
		default:
			return fmt.Errorf("line %d: %s: a plain value or a list is needed", node.Line, key)
		}
	}
	return nil
}

// notInFile are flags that make no sense in a file that stays: what is said once, and what names the file itself.
var notInFile = []string{"help", "version", "config", "token", "token-file", "replace", "again", "password-file", "output", "checks", "root", "program", "settings", "file", "log-file", "since", "as"}

// Validate refuses keys that are no flag. Kong calls it before it parses.
func (s settings) Validate(app *kong.Application) error {
	known := map[string]bool{}
	var visit func(n *kong.Node)
	visit = func(n *kong.Node) {
		for _, f := range n.Flags {
			known[f.Name] = !slices.Contains(notInFile, f.Name)
		}
		for _, child := range n.Children {
			visit(child)
		}
	}
	visit(app.Node)
	for _, name := range s.names() {
		one := s.instances[name]
		one.path = s.path
		if err := one.knows(known); err != nil {
			return err
		}
	}
	return s.knows(known)
}

// knows refuses the first key that is no flag.
func (s settings) knows(known map[string]bool) error {
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		if known[key] {
			continue
		}
		what := "remove it, or see sallyport-agent run --help for all there are"
		if near := nearest(key, known); near != "" {
			what = fmt.Sprintf("do you mean %q?", near)
		}
		if slices.Contains(notInFile, key) {
			what = "it can only be given on the command line; remove it"
		}
		return fmt.Errorf("settings in %s: line %d: %q is not a setting: %s", s.path, s.lines[key], key, what)
	}
	return nil
}

// nearest returns the known key that a mistyped one is likely to be, or "".
func nearest(key string, known map[string]bool) string {
	plain := strings.NewReplacer("_", "-", " ", "-").Replace(strings.ToLower(key))
	best, least := "", 3
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if d := distance(plain, k); known[k] && d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters to insert, delete or replace that lead from a to b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Resolve gives kong the value of a flag that the command line does not set; the environment goes before the file.
func (s settings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return nil, nil
		}
	}
	return s.values[flag.Name], nil
}
