package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sallyport-auth/sallyport/wire"
)

// document is the API's description, as far as these tests judge by it.
type document struct {
	OpenAPI    string                                `json:"openapi"`
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components struct {
		SecuritySchemes map[string]struct{ Type, Scheme string } `json:"securitySchemes"`
		Schemas         map[string]schema                        `json:"schemas"`
		Parameters      map[string]parameter                     `json:"parameters"`
		Responses       map[string]response                      `json:"responses"`
	} `json:"components"`
	Security []map[string][]string `json:"security"`
	raw      any
}

type operation struct {
	OperationID string                 `json:"operationId"`
	Parameters  []parameter            `json:"parameters"`
	RequestBody *body                  `json:"requestBody"`
	Responses   map[string]response    `json:"responses"`
	Security    *[]map[string][]string `json:"security"`
}

type parameter struct {
	Ref, Name, In string
	Required      bool
	Schema        schema
}

// UnmarshalJSON reads "$ref" into Ref: a field of that name alone would need a tag on each.
func (p *parameter) UnmarshalJSON(b []byte) error {
	type plain parameter
	var ref struct {
		Ref string `json:"$ref"`
	}
	if err := json.Unmarshal(b, &ref); err != nil {
		return err
	}
	err := json.Unmarshal(b, (*plain)(p))
	p.Ref = ref.Ref
	return err
}

type body struct {
	Content map[string]struct{ Schema schema }
}

type response struct {
	Ref     string                             `json:"$ref"`
	Content map[string]struct{ Schema schema } `json:"content"`
}

// schema is the part of JSON Schema that the description keeps to; any other keyword fails [readDocument].
type schema map[string]any

var keywords = []string{"$ref", "type", "description", "properties", "required", "additionalProperties", "items", "enum", "format", "default", "minimum",
	"maximum", "minLength", "maxLength"}

func readDocument(t testing.TB) document {
	t.Helper()
	var d document
	if err := json.Unmarshal(description, &d); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(description, &d.raw); err != nil {
		t.Fatal(err)
	}
	return d
}

// check returns what is wrong with a value, "" for nothing.
func (d document) check(s schema, v any, at string) string {
	for keyword := range s {
		if !slices.Contains(keywords, keyword) {
			return fmt.Sprintf("%s: the schema's keyword %s is not known to this test", at, keyword)
		}
	}
	if ref, ok := s["$ref"].(string); ok {
		named, found := d.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]
		if !found {
			return at + ": no schema " + ref
		}
		return d.check(named, v, at)
	}
	if all, ok := s["enum"].([]any); ok && !slices.Contains(all, v) {
		return fmt.Sprintf("%s: %v is not one of %v", at, v, all)
	}
	switch s["type"] {
	case "string":
		return checkString(s, v, at)
	case "boolean":
		if _, ok := v.(bool); !ok {
			return fmt.Sprintf("%s: %v is no boolean", at, v)
		}
	case "integer":
		n, ok := v.(float64)
		least, most := s["minimum"], s["maximum"]
		if !ok || n != float64(int64(n)) || least != nil && n < least.(float64) || most != nil && n > most.(float64) {
			return fmt.Sprintf("%s: %v is no integer in range", at, v)
		}
	case "array":
		list, ok := v.([]any)
		if !ok {
			return fmt.Sprintf("%s: %v is no array", at, v)
		}
		for i, item := range list {
			if wrong := d.check(schema(s["items"].(map[string]any)), item, fmt.Sprintf("%s[%d]", at, i)); wrong != "" {
				return wrong
			}
		}
	case "object":
		return d.checkObject(s, v, at)
	default:
		return fmt.Sprintf("%s: the schema has no type that this test knows: %v", at, s["type"])
	}
	return ""
}

func checkString(s schema, v any, at string) string {
	text, ok := v.(string)
	if !ok {
		return fmt.Sprintf("%s: %v is no string", at, v)
	}
	if least, ok := s["minLength"].(float64); ok && utf8.RuneCountInString(text) < int(least) {
		return at + ": too short"
	}
	if most, ok := s["maxLength"].(float64); ok && utf8.RuneCountInString(text) > int(most) {
		return at + ": too long"
	}
	switch s["format"] {
	case nil:
	case "date-time":
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			return at + ": " + err.Error()
		}
	default:
		return fmt.Sprintf("%s: format %v is not known to this test", at, s["format"])
	}
	return ""
}

func (d document) checkObject(s schema, v any, at string) string {
	object, ok := v.(map[string]any)
	if !ok {
		return fmt.Sprintf("%s: %v is no object", at, v)
	}
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, there := object[name.(string)]; !there {
			return fmt.Sprintf("%s: %s is missing", at, name)
		}
	}
	properties, _ := s["properties"].(map[string]any)
	for name, value := range object {
		property, known := properties[name].(map[string]any)
		if !known {
			if s["additionalProperties"] == false {
				return fmt.Sprintf("%s: %s is not described", at, name)
			}
			continue
		}
		if wrong := d.check(property, value, at+"."+name); wrong != "" {
			return wrong
		}
	}
	return ""
}

// operation finds what a request does; nil for a path or method that is not described.
func (d document) operation(t testing.TB, method, path string) *operation {
	t.Helper()
	for pattern, item := range d.Paths {
		raw, has := item[strings.ToLower(method)]
		if !has {
			continue
		}
		parts := strings.Split(pattern, "/")
		for i, p := range parts {
			if strings.HasPrefix(p, "{") {
				parts[i] = "[^/]+"
			} else {
				parts[i] = regexp.QuoteMeta(p)
			}
		}
		if regexp.MustCompile("^" + strings.Join(parts, "/") + "$").MatchString(path) {
			return decodeOperation(t, raw)
		}
	}
	return nil
}

func decodeOperation(t testing.TB, raw json.RawMessage) *operation {
	t.Helper()
	var o operation
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatal(err)
	}
	return &o
}

// hold fails the test when a real exchange is not what the description says.
func (d document) hold(t testing.TB, r *http.Request, sent string, a answer) {
	t.Helper()
	o := d.operation(t, r.Method, r.URL.EscapedPath())
	if o == nil { // a stray request: only the form of its refusal is described
		if wrong := d.check(d.Components.Schemas["Problem"], decoded(t, a.body), "problem"); wrong != "" || a.status < 400 {
			t.Errorf("%s %s is not described: %d %s", r.Method, r.URL, a.status, wrong)
		}
		return
	}
	described, ok := o.Responses[fmt.Sprint(a.status)]
	if !ok {
		t.Errorf("%s %s: answer %d is not described: %s", r.Method, r.URL, a.status, a.body)
		return
	}
	if described.Ref != "" {
		described, ok = d.Components.Responses[strings.TrimPrefix(described.Ref, "#/components/responses/")]
		if !ok {
			t.Fatalf("%s: its answer %d refers to nothing", o.OperationID, a.status)
		}
	}
	if len(described.Content) == 0 {
		if a.body != "" {
			t.Errorf("%s %s: a body is not described: %s", r.Method, r.URL, a.body)
		}
	} else if media, ok := described.Content[a.header.Get("Content-Type")]; !ok {
		t.Errorf("%s %s: %s is not described for %d", r.Method, r.URL, a.header.Get("Content-Type"), a.status)
	} else if wrong := d.check(media.Schema, decoded(t, a.body), "answer"); wrong != "" {
		t.Errorf("%s %s: %s\n%s", r.Method, r.URL, wrong, a.body)
	}
	if a.status >= 300 {
		return
	}
	// What was accepted must be describable, too.
	switch {
	case o.RequestBody == nil && sent != "" && r.Method != http.MethodPost:
		t.Errorf("%s %s: a request body is not described", r.Method, r.URL)
	case o.RequestBody != nil:
		if wrong := d.check(o.RequestBody.Content["application/json"].Schema, decoded(t, sent), "request"); wrong != "" {
			t.Errorf("%s %s: %s\n%s", r.Method, r.URL, wrong, sent)
		}
	}
	for name := range r.URL.Query() {
		if !slices.ContainsFunc(o.Parameters, func(p parameter) bool {
			if p.Ref != "" {
				p = d.Components.Parameters[strings.TrimPrefix(p.Ref, "#/components/parameters/")]
			}
			return p.In == "query" && p.Name == name
		}) {
			t.Errorf("%s %s: query %s is not described", r.Method, r.URL, name)
		}
	}
}

func decoded(t testing.TB, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Errorf("%v in %q", err, text)
	}
	return v
}

// TestDescriptionNamesEveryRoute: routes and described operations are the same, and so are their path parameters.
func TestDescriptionNamesEveryRoute(t *testing.T) {
	d := readDocument(t)
	described, ids := []string{"GET /admin/v1/openapi.json"}, map[string]bool{}
	for path, item := range d.Paths {
		var wanted []string
		for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
			wanted = append(wanted, "#/components/parameters/"+m[1])
		}
		var given []parameter
		if raw, ok := item["parameters"]; ok {
			if err := json.Unmarshal(raw, &given); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, p := range given {
			got = append(got, p.Ref)
		}
		if !slices.Equal(got, wanted) {
			t.Errorf("%s: parameters %v, not %v", path, got, wanted)
		}
		for method, raw := range item {
			if method == "parameters" {
				continue
			}
			o := decodeOperation(t, raw)
			if o.OperationID == "" || ids[o.OperationID] {
				t.Errorf("%s %s: operationId %q is empty or used twice", method, path, o.OperationID)
			}
			ids[o.OperationID] = true
			open := o.Security != nil && len(*o.Security) == 0
			if open != (path == "/admin/v1/openapi.json") {
				t.Errorf("%s %s: the need of a token is described wrongly", method, path)
			}
			if !open {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	real := append(slices.Collect(maps.Keys((&API{}).routes())), "GET /admin/v1/openapi.json")
	slices.Sort(real)
	slices.Sort(described)
	if !slices.Equal(real, described) {
		t.Errorf("routes\n%s\ndescribed\n%s", strings.Join(real, "\n"), strings.Join(described, "\n"))
	}
	if scheme := d.Components.SecuritySchemes["token"]; d.OpenAPI != "3.1.0" || scheme.Type != "http" || scheme.Scheme != "bearer" || len(d.Security) != 1 {
		t.Errorf("%+v", d)
	}
}

// TestDescriptionRefersToWhatIsThere: every reference leads somewhere, and everything is referred to.
func TestDescriptionRefersToWhatIsThere(t *testing.T) {
	d := readDocument(t)
	used := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				used[ref] = true
			}
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(d.raw)
	there := map[string]bool{}
	for kind, all := range d.raw.(map[string]any)["components"].(map[string]any) {
		if kind == "securitySchemes" {
			continue
		}
		for name := range all.(map[string]any) {
			there["#/components/"+kind+"/"+name] = true
		}
	}
	if !maps.Equal(used, there) {
		t.Errorf("used %v\nthere %v", slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(there)))
	}
}

// TestDescriptionFitsTheTypes: the schemas name the fields of the Go types, and require those that are never left out.
func TestDescriptionFitsTheTypes(t *testing.T) {
	d := readDocument(t)
	types := map[string]any{"LogEntry": LogEntry{}, "LogChange": LogChange{}, "LogActor": LogActor{}, "LogProof": LogProof{}, "LogCheckpoint": LogCheckpoint{}, "Tenant": Tenant{}, "TenantInput": TenantInput{}, "Verification": Verification{}, "Registration": Registration{}, "AgentKeys": AgentKeys{}, "Directory": Directory{}, "DirectoryInput": DirectoryInput{}, "DirectoryProof": DirectoryProof{}, "Domain": Domain{},
		"DomainInput": DomainInput{}, "User": User{}, "UserInput": UserInput{}, "App": App{}, "AppInput": AppInput{}, "Agent": Agent{}, "AgentHealth": AgentHealth{}, "AgentGuard": AgentGuard{}, "DirectoryPolicy": DirectoryPolicy{}, "DomainController": DomainController{}, "AgentProbe": AgentProbe{}, "Canary": Canary{}, "AgentInput": AgentInput{},
		"ApproveInput": ApproveInput{}, "RevokeInput": RevokeInput{}, "RenewInput": RenewInput{}, "RenewOrder": RenewOrder{}, "AgentMoment": AgentMoment{}, "AgentToken": AgentToken{}, "AgentTokenInput": AgentTokenInput{}, "AdminToken": AdminToken{},
		"AdminTokenInput": AdminTokenInput{}, "SignIn": SignIn{}, "Stop": Stop{}, "Problem": wire.Problem{}}
	for name, s := range d.Components.Schemas {
		if strings.HasSuffix(name, "Page") || name == "PasswordInput" || name == "CanaryInput" {
			continue // held by real answers; has no exported type, for the password's sake
		}
		x, ok := types[name]
		if !ok {
			t.Errorf("schema %s has no type", name)
			continue
		}
		delete(types, name)
		required := map[string]bool{}
		for f := range reflect.TypeOf(x).Fields() {
			key, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			required[key] = options == ""
		}
		properties, _ := s["properties"].(map[string]any)
		list, _ := s["required"].([]any)
		if s["additionalProperties"] != false || len(properties) != len(required) {
			t.Errorf("%s: %d properties, not %d", name, len(properties), len(required))
		}
		for key, always := range required {
			if _, there := properties[key]; !there || slices.Contains(list, any(key)) != always {
				t.Errorf("%s.%s: described %t, required %t", name, key, there, always)
			}
		}
	}
	if len(types) > 0 {
		t.Errorf("types without a schema: %v", types)
	}
}

// TestCheckerRefuses: the judge of the other tests is strict itself.
func TestCheckerRefuses(t *testing.T) {
	d := readDocument(t)
	good := `{"id":"1","name":"corp","evaluation":false,"created":"2026-01-02T03:04:05Z","changed":"2026-01-02T03:04:05.678Z"}`
	if wrong := d.check(schema{"$ref": "#/components/schemas/Directory"}, decoded(t, good), "x"); wrong != "" {
		t.Error(wrong)
	}
	for old, bad := range map[string]string{`"corp"`: `1`, `false`: `"no"`, `"name":"corp",`: ``, `"id":"1"`: `"id":"1","more":1`,
		"2026-01-02T03:04:05Z": "yesterday", good: `[]`} {
		text := strings.Replace(good, old, bad, 1)
		if d.check(schema{"$ref": "#/components/schemas/Directory"}, decoded(t, text), "x") == "" {
			t.Errorf("%s is accepted", text)
		}
	}
	for _, s := range []schema{{"$ref": "#/components/schemas/Nothing"}, {"type": "number"}, {"type": "string", "pattern": "x"}, {"type": "string", "format": "uri"},
		{"type": "string", "enum": []any{"b"}}, {"type": "string", "maxLength": 0.0}, {"type": "string", "minLength": 2.0}, {"type": "integer"}, {}} {
		if d.check(s, "a", "x") == "" {
			t.Errorf("%v accepts a text", s)
		}
	}
	for _, n := range []float64{1.5, 0, 9} {
		if d.check(schema{"type": "integer", "minimum": 1.0, "maximum": 8.0}, n, "x") == "" {
			t.Errorf("%v is accepted", n)
		}
	}
}

func TestDescriptionIsServed(t *testing.T) {
	w := newWorld(t)
	for _, token := range []string{"", w.contoso, "sallyport-admin-unknown"} {
		a := w.want(http.StatusOK, token, "GET", "/openapi.json", "")
		if a.body != string(description) || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%v", a.header)
		}
	}
	if a := w.want(http.StatusMethodNotAllowed, w.root, "POST", "/openapi.json", "{}"); a.header.Get("Allow") != "GET" {
		t.Errorf("%v", a.header)
	}
	w.want(http.StatusUnauthorized, "", "POST", "/openapi.json", "{}")
}
