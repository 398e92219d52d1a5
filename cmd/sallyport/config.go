package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sallyport-auth/sallyport/service"
)

const (
	// envPrefix begins the environment variable of every setting.
	envPrefix = "SALLYPORT_"
	// agentPrefix begins the variables of sallyport-agent, which may run on the same machine.
	agentPrefix = "SALLYPORT_AGENT_"
	// maxConfig bounds a configuration file: a full one with comments is a few kilobytes.
	maxConfig = 1 << 20
)

// settings is the configuration as it came together, and where each value came from.
type settings struct {
	Config service.Config
	// origin tells for each key where its value came from: "file.yaml:12", "environment SALLYPORT_…", "--set"; absent: default.
	origin map[string]string
}

// field is one setting: its dotted key, its documentation and the place of its value.
type field struct {
	key, doc string
	value    reflect.Value
}

// fields lists the settings of a configuration in the order of the struct.
func fields(cfg *service.Config) []field {
	var out []field
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			key := prefix + f.Tag.Get("yaml")
			if f.Type.Kind() == reflect.Struct {
				walk(key+".", v.Field(i))
				continue
			}
			out = append(out, field{key, f.Tag.Get("doc"), v.Field(i)})
		}
	}
	walk("", reflect.ValueOf(cfg).Elem())
	return out
}

// variable is the environment variable of a key.
func variable(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// set gives a field a value from text; lists are separated by commas.
func (f field) set(text string) error {
	switch f.value.Interface().(type) {
	case string:
		f.value.SetString(text)
	case bool:
		switch text {
		case "true", "false":
			f.value.SetBool(text == "true")
		default:
			return fmt.Errorf("%q is neither true nor false", text)
		}
	case int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		f.value.SetInt(int64(n))
	case time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 20s, 10m or 720h", text)
		}
		f.value.SetInt(int64(d))
	case []string:
		parts := []string{}
		for p := range strings.SplitSeq(text, ",") {
			if p = strings.TrimSpace(p); p != "" {
				parts = append(parts, p)
			}
		}
		f.value.Set(reflect.ValueOf(parts))
	default:
		return fmt.Errorf("settings of type %s cannot be read", f.value.Type())
	}
	return nil
}

// text prints a field's value as set would read it.
func (f field) text() string {
	switch v := f.value.Interface().(type) {
	case []string:
		return strings.Join(v, ",")
	default:
		return fmt.Sprint(v)
	}
}

// load puts the configuration together: defaults, then the file (if any), then the environment, then --set. All problems are
// returned at once, each with its place and remedy.
func load(file string, environ []string, sets map[string]string) (settings, error) {
	s := settings{Config: service.Defaults(), origin: map[string]string{}}
	known := map[string]field{}
	for _, f := range fields(&s.Config) {
		known[f.key] = f
	}
	var errs []error
	if file != "" {
		errs = append(errs, s.readFile(file, known)...)
	}
	errs = append(errs, s.readEnvironment(environ, known)...)
	for _, key := range slices.Sorted(maps.Keys(sets)) {
		f, ok := known[key]
		if !ok {
			errs = append(errs, fmt.Errorf("--set %s: unknown key%s", key, suggest(key, known)))
			continue
		}
		if err := f.set(sets[key]); err != nil {
			errs = append(errs, fmt.Errorf("--set %s: %w", key, err))
			continue
		}
		s.origin[key] = "--set"
	}
	if len(errs) > 0 {
		return s, errors.Join(errs...)
	}
	for _, finding := range s.Config.Check() {
		where := s.origin[finding.Key]
		if where == "" {
			where = "default"
			if file != "" {
				where = file
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", where, finding))
	}
	return s, errors.Join(errs...)
}

// readFile reads a YAML file strictly: every key must be known, once, and of the right shape.
func (s *settings) readFile(file string, known map[string]field) []error {
	f, err := os.Open(file)
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return []error{fmt.Errorf("%s: the configuration file cannot be read: %w", file, err)}
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return []error{fmt.Errorf("%s: %w", file, err)}
	}
	if len(raw) > maxConfig {
		return []error{fmt.Errorf("%s: larger than %d bytes: is this the right file?", file, maxConfig)}
	}
	return s.readYAML(file, raw, known)
}

func (s *settings) readYAML(file string, raw []byte, known map[string]field) []error {
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return []error{fmt.Errorf("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	if len(doc.Content) == 0 {
		return nil
	}
	var errs []error
	at := func(n *yaml.Node, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s:%d: %s", file, n.Line, fmt.Sprintf(format, args...)))
	}
	seen := map[string]bool{}
	var walk func(prefix string, n *yaml.Node)
	walk = func(prefix string, n *yaml.Node) {
		if n.Kind == yaml.AliasNode || n.Anchor != "" {
			at(n, "anchors and aliases are not supported here. Write the value out")
			return
		}
		if n.Kind != yaml.MappingNode {
			at(n, "%s holds settings of its own: write them indented below it as key: value", strings.TrimSuffix(prefix, "."))
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			name, value := n.Content[i], n.Content[i+1]
			key := prefix + name.Value
			f, ok := known[key]
			section := slices.ContainsFunc(slices.Collect(maps.Keys(known)), func(k string) bool { return strings.HasPrefix(k, key+".") })
			switch {
			case seen[key]:
				at(name, "%s is set a second time. Remove one", key)
			case section:
				seen[key] = true
				if value.Tag != "!!null" {
					walk(key+".", value)
				}
			case !ok:
				at(name, "unknown key %s%s", key, suggest(key, known))
			default:
				seen[key] = true
				text, err := scalar(value, f)
				if err == nil {
					err = f.set(text)
				}
				if err != nil {
					at(value, "%s: %v", key, err)
					continue
				}
				s.origin[key] = fmt.Sprintf("%s:%d", file, value.Line)
			}
		}
	}
	walk("", doc.Content[0])
	return errs
}

// scalar returns the text of a value as field.set reads it.
func scalar(n *yaml.Node, f field) (string, error) {
	_, list := f.value.Interface().([]string)
	switch {
	case list && n.Kind == yaml.SequenceNode:
		var parts []string
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode || strings.Contains(item.Value, ",") {
				return "", errors.New("each entry must be plain text without commas")
			}
			parts = append(parts, item.Value)
		}
		return strings.Join(parts, ","), nil
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null":
		return "", errors.New("a value is missing")
	}
	return n.Value, nil
}

// readEnvironment reads SALLYPORT_… variables; one that belongs to no setting is refused, since it would be silently ignored.
func (s *settings) readEnvironment(environ []string, known map[string]field) (errs []error) {
	names := map[string]string{}
	for key := range known {
		names[variable(key)] = key
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) || strings.HasPrefix(name, agentPrefix) || slices.Contains(clientVariables, name) {
			continue
		}
		key, ok := names[name]
		if !ok {
			errs = append(errs, fmt.Errorf("environment %s: belongs to no setting. Unset it; \"sallyport config print\" lists them all", name))
			continue
		}
		if err := known[key].set(value); err != nil {
			errs = append(errs, fmt.Errorf("environment %s: %w", name, err))
			continue
		}
		s.origin[key] = "environment " + name
	}
	return errs
}

// clientVariables are read by the command line itself and by tests, not by the configuration.
var clientVariables = []string{"SALLYPORT_SERVER", "SALLYPORT_TOKEN_FILE", "SALLYPORT_CA_FILE", "SALLYPORT_TENANT", "SALLYPORT_CI",
	"SALLYPORT_TEST_POSTGRES", "SALLYPORT_CONFIG"}

// print writes the configuration as a YAML file with each setting's meaning and origin. Secrets in addresses are masked.
func (s settings) print(w io.Writer) {
	section := ""
	for _, f := range fields(&s.Config) {
		key, indent := f.key, ""
		if head, rest, nested := strings.Cut(f.key, "."); nested {
			if head != section {
				fmt.Fprintf(w, "\n%s:\n", head)
				section = head
			}
			key, indent = rest, "  "
		} else if section != "" {
			fmt.Fprintln(w)
		}
		origin := s.origin[f.key]
		if origin == "" {
			origin = "default"
		}
		fmt.Fprintf(w, "%s# %s\n%s# from: %s; variable: %s\n", indent, f.doc, indent, origin, variable(f.key))
		if list, ok := f.value.Interface().([]string); ok {
			quoted := make([]string, len(list))
			for i, v := range list {
				quoted[i] = quote(v)
			}
			fmt.Fprintf(w, "%s%s: [%s]\n", indent, key, strings.Join(quoted, ", "))
			continue
		}
		text := f.text()
		if _, isText := f.value.Interface().(string); isText {
			text = quote(maskPassword(text))
		}
		fmt.Fprintf(w, "%s%s: %s\n", indent, key, text)
	}
}

// quote writes a YAML double-quoted string.
func quote(s string) string {
	b, err := yaml.Marshal(&yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Value: s})
	if err != nil {
		return `""`
	}
	return strings.TrimSpace(string(b))
}

// maskPassword hides the password of an address, in its usual place (scheme://user:password@host) and in a parameter
// (?password=…, as PostgreSQL takes it).
func maskPassword(address string) string {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return address
	}
	rest, query, asked := strings.Cut(rest, "?")
	at := strings.LastIndex(rest, "@")
	if name, _, has := strings.Cut(rest[:max(at, 0)], ":"); at >= 0 && has {
		rest = name + ":" + masked + rest[at:]
	}
	if !asked {
		return scheme + "://" + rest
	}
	parameters := strings.Split(query, "&")
	for i, p := range parameters {
		if key, _, has := strings.Cut(p, "="); has && strings.Contains(strings.ToLower(key), "password") {
			parameters[i] = key + "=" + masked
		}
	}
	return scheme + "://" + rest + "?" + strings.Join(parameters, "&")
}

// masked stands where a password would.
const masked = "[secret]"

// suggest names the known key nearest to a misspelt one, if any is near.
func suggest(key string, known map[string]field) string {
	best, distance := "", 4
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if d := edits(key, k); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return `. "sallyport config print" lists all keys`
	}
	return fmt.Sprintf(". Did you mean %s?", best)
}

// edits is the Levenshtein distance of two short words.
func edits(a, b string) int {
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
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// configFile returns the file to read: the one named, else /etc/sallyport/sallyport.yaml where there is one, else none.
func configFile(named string) string {
	if named != "" {
		return named
	}
	const standard = "/etc/sallyport/sallyport.yaml"
	if _, err := os.Stat(standard); err == nil {
		return standard
	}
	return ""
}

// absolute makes the data folder independent of the working directory.
func (s *settings) absolute() error {
	for _, name := range []*string{&s.Config.Data, &s.Config.RegistrationLog.File} {
		if *name == "" {
			continue
		}
		abs, err := filepath.Abs(*name)
		if err != nil {
			return err
		}
		*name = abs
	}
	return nil
}
