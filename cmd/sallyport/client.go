package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sallyport-auth/sallyport/service"
	"github.com/sallyport-auth/sallyport/service/admin"
)

const (
	// requestTimeout bounds one call of the admin API: they are all short.
	requestTimeout = 30 * time.Second
	// maxToken bounds the file of a token: it holds one line.
	maxToken = 4096
)

// apiFlags say which service to talk to. Without any they are taken from the configuration, which fits the service's own host.
type apiFlags struct {
	Server    string `placeholder:"URL" env:"SALLYPORT_SERVER" help:"Admin API, for example https://127.0.0.1:8445 (default: from the configuration)."`
	TokenFile string `placeholder:"FILE" env:"SALLYPORT_TOKEN_FILE" help:"File with the admin API's token (default: admin-token in the data folder)."`
	CAFile    string `placeholder:"FILE" env:"SALLYPORT_CA_FILE" help:"PEM file of the CA of the admin API's certificate (default: the local CA in the data folder, else the system's)."`
	Output    string `short:"o" enum:"table,json" default:"table" help:"table or json."`
	settingsFlags
}

// tenantFlags add the tenant that a command is about.
type tenantFlags struct {
	apiFlags
	Tenant string `required:"" short:"t" env:"SALLYPORT_TENANT" help:"Tenant, by name or id."`
}

// path is below the tenant's address.
func (f tenantFlags) path(elements ...string) string {
	return admin.Path(append([]string{"tenants", f.Tenant}, elements...)...)
}

// client returns the admin API's client. On the service's own host everything it needs stands in the configuration: the
// address, the token in the data folder, and the certificate, which is for the host of public_url and not for the
// loopback address that is dialled.
func (f apiFlags) client() (*admin.Client, error) {
	s, err := load(configFile(f.Config), os.Environ(), f.Set)
	if err != nil && f.Config != "" {
		return nil, &usageError{fmt.Errorf("the configuration has faults:\n%s", indent(err.Error()))}
	}
	cfg := s.Config // without a file of its own a client's host has defaults, and their faults do not matter to it
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.Server == "" {
		host, port, err := net.SplitHostPort(cfg.Admin.Listen)
		if err != nil {
			return nil, &usageError{fmt.Errorf("admin.listen: %w", err)}
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		f.Server = "https://" + net.JoinHostPort(host, port)
		if public, err := url.Parse(cfg.PublicURL); err == nil {
			conf.ServerName = public.Hostname()
		}
	} else if u, err := url.Parse(f.Server); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, &usageError{fmt.Errorf("--server %q is not an address such as https://127.0.0.1:8445", f.Server)}
	}
	if f.TokenFile == "" {
		f.TokenFile = cfg.TokenFile()
	}
	token, err := readToken(f.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("the admin API's token cannot be read. Give --token-file, or --config for the service's data folder "+
			"(\"sallyport init\" makes the token, \"sallyport token renew\" another): %w", err)
	}
	if conf.RootCAs, err = f.roots(cfg); err != nil {
		return nil, err
	}
	return &admin.Client{BaseURL: f.Server, Token: token,
		HTTP: &http.Client{Timeout: requestTimeout, Transport: &http.Transport{TLSClientConfig: conf, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}}}, nil
}

// readToken reads the first line of a token's file.
func readToken(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxToken))
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(raw))
	if token == "" || strings.ContainsAny(token, "\r\n \t") {
		return "", fmt.Errorf("%s: it does not hold one token", name)
	}
	return token, nil
}

// roots returns whom to believe about the admin API's certificate: the CA given; else the local CA of the data folder; else the
// system's, and the very certificate that the configuration names, since whoever can change that file is the service.
func (f apiFlags) roots(cfg service.Config) (*x509.CertPool, error) {
	if f.CAFile == "" && cfg.TLS.CertificateFile == "" {
		if local := cfg.LocalCAFile(); exists(local) {
			f.CAFile = local
		}
	}
	if f.CAFile != "" {
		pem, err := os.ReadFile(f.CAFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: holds no certificate", f.CAFile)
		}
		return pool, nil
	}
	pem, err := os.ReadFile(cfg.TLS.CertificateFile)
	if err != nil {
		return nil, nil // not the service's host, or not its user: the system's roots
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("the system's certificate authorities cannot be read: give --ca-file: %w", err)
	}
	pool.AppendCertsFromPEM(pem)
	return pool, nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// directories returns the names of a tenant's directories by their ids.
func (f tenantFlags) directories(ctx context.Context) (map[string]string, error) {
	c, err := f.client()
	if err != nil {
		return nil, err
	}
	all, err := admin.All[admin.Directory](ctx, c, f.path("directories"))
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, d := range all {
		names[d.ID] = d.Name
	}
	return names, nil
}

// column is one column of a table: its heading and what stands in it.
type column[T any] struct {
	head string
	cell func(T) string
}

// list reads a whole list and prints it.
func list[T any](ctx context.Context, t *terminal, f apiFlags, path string, columns []column[T]) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	items, err := admin.All[T](ctx, c, path)
	if err != nil {
		return err
	}
	return printList(t.out, f.Output, items, columns)
}

// printList prints a list as a table or as JSON.
func printList[T any](w io.Writer, output string, items []T, columns []column[T]) error {
	if output == "json" {
		if items == nil {
			items = []T{}
		}
		return printJSON(w, items)
	}
	if len(items) == 0 {
		_, err := fmt.Fprintln(w, "none")
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, c := range columns {
		fmt.Fprint(tw, strings.ToUpper(c.head), separator(i, len(columns)))
	}
	for _, item := range items {
		for i, c := range columns {
			fmt.Fprint(tw, printable(c.cell(item)), separator(i, len(columns)))
		}
	}
	return tw.Flush()
}

func separator(i, n int) string {
	if i == n-1 {
		return "\n"
	}
	return "\t"
}

// printable keeps what strangers typed from driving the terminal.
func printable(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// call sends one request and prints the thing it answers with; T struct{} prints nothing but said.
func call[T any](ctx context.Context, t *terminal, f apiFlags, method, path string, in any, said string) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	var out T
	if err := c.Do(ctx, method, path, in, &out); err != nil {
		return err
	}
	if _, nothing := any(out).(struct{}); nothing {
		if f.Output != "json" {
			fmt.Fprintln(t.out, said)
		}
		return nil
	}
	if f.Output == "json" {
		return printJSON(t.out, out)
	}
	return printFields(t.out, out)
}

// printFields prints a thing's JSON fields one a line, in their order. Those of a thing within it have its name before theirs; of a list each item has
// a line.
func printFields(w io.Writer, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if err := eachField("", raw, func(key string, lines []string) {
		for i := range lines {
			lines[i] = printable(lines[i])
		}
		fmt.Fprintf(tw, "%s\t%s\n", printable(key), strings.Join(lines, "\n\t"))
	}); err != nil {
		return err
	}
	return tw.Flush()
}

// eachField calls put with each field of a JSON object, and of those within it.
func eachField(prefix string, object json.RawMessage, put func(key string, lines []string)) error {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		name := prefix + fmt.Sprint(key)
		if value[0] == '{' {
			if err := eachField(name+".", value, put); err != nil {
				return err
			}
			continue
		}
		items := []json.RawMessage{value}
		if value[0] == '[' {
			if err := json.Unmarshal(value, &items); err != nil {
				return err
			}
		}
		lines := make([]string, max(len(items), 1))
		for i, item := range items {
			if lines[i], err = inLine(item); err != nil {
				return err
			}
		}
		put(name, lines)
	}
	return nil
}

// inLine writes a JSON value in one line: text as it is, an object as its fields.
func inLine(value json.RawMessage) (string, error) {
	if value[0] == '{' {
		var fields []string
		err := eachField("", value, func(key string, lines []string) { fields = append(fields, key+" "+strings.Join(lines, " ")) })
		return strings.Join(fields, ", "), err
	}
	switch {
	case string(value) == "null":
		return "", nil
	case value[0] != '"':
		return string(value), nil
	}
	var s string
	err := json.Unmarshal(value, &s)
	return s, err
}

// day prints a time shortly, in the local zone.
func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04")
}

// yes prints a truth value for people.
func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
