package config

import (
	"cmp"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/loginwall/loginwall/auth"
)

// A fault says what is wrong with a text and what to do. What continues a
// sentence that begins with the text ("is not a duration"). Neither what nor do
// repeats any of the text, which may be secret; fix is better advice that does.
type fault struct{ what, do, fix string }

func (f fault) Error() string { return f.what }

// set reads text into v; its type, and the kind of its field, say how.
func (d *decoder) set(v reflect.Value, kind, text string) (err error) {
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p, err = d.word(kind, text)
	case *bool:
		if *p = text == "true"; !*p && text != "false" {
			err = fault{what: "is neither true nor false"}
		}
	case *time.Duration:
		*p, err = parseDuration(kind, text)
	case *int:
		*p, err = parseCount(text)
	case *Size:
		*p, err = parseSize(text)
	case *Secret:
		*p, err = parseSecret(text)
	case **url.URL:
		*p, err = parsePublicURL(text)
	case *Upstream:
		*p, err = d.parseUpstream(text)
	case *Store:
		*p, err = d.parseStore(text)
	case *Peer:
		if p.Unix = text == "unix"; !p.Unix {
			p.Prefix, err = parsePrefix(text)
		}
	case *slog.Level:
		*p, err = parseLevel(text)
	case *Access:
		*p, err = oneOf(text, Public, Allowed, Admins, Nobody)
	case *UpstreamTransport:
		*p, err = oneOf(text, TransportStandard, TransportDirect)
	case *Pictures:
		*p, err = oneOf(text, PicturesNone, PicturesProxied)
	case *LogFormat:
		*p, err = oneOf(text, LogAuto, LogJSON, LogText)
	default:
		err = fault{what: "has a type that the loader does not know: " + v.Type().String()}
	}
	return err
}

// word reads the texts that stay strings, and returns their canonical form.
func (d *decoder) word(kind, text string) (string, error) {
	switch kind {
	case "address":
		return parseAddress(text)
	case "address_or_off":
		if text == "off" {
			return "", nil
		}
		return parseAddress(text)
	case "audit":
		return d.parseAudit(text)
	case "auth_method":
		return oneOf(text, "basic", "post")
	case "client_id":
		return parseClientID(text)
	case "colour":
		if !colourText.MatchString(text) {
			return "", fault{what: "is not a colour", do: "six hexadecimal digits behind a #, in quotation marks, as in \"#1a5fb4\""}
		}
		return strings.ToLower(text), nil
	case "directory":
		return parseDirectory(text)
	case "domain":
		return parseDomain(text)
	case "email":
		return parseEmail(text)
	case "file":
		if err := parseLine(text); err != nil {
			return "", err
		}
		return d.path(text)
	case "group":
		if text == "*" {
			return "", fault{what: "is no group", do: "name each group; allow.everyone: true lets in every account"}
		}
		return text, parseLine(text)
	case "issuer":
		return parseIssuer(text)
	case "line":
		return text, parseLine(text)
	case "listen":
		return d.parseListen(text)
	case "method":
		return parseMethod(text)
	case "path":
		return parsePath(text)
	case "scope":
		if strings.ContainsAny(text, " ,") {
			return "", fault{what: "is more than one scope", do: "write a list, as in [openid, email]"}
		}
		return text, parseLine(text)
	case "word":
		if !wordText.MatchString(text) {
			return "", fault{what: "is not a name", do: "letters, digits and . _ : / -"}
		}
		return text, nil
	}
	return "", fault{what: "has a kind that the loader does not know: " + kind}
}

var colourText = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

var wordText = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}$`)

// path returns that of a file that stands in the configuration, which is one
// of systemd's credentials when it is written credential:NAME. Those lie in a
// folder that only the service can read, and that only its environment tells.
func (d *decoder) path(text string) (string, error) {
	name, ok := strings.CutPrefix(text, "credential:")
	if !ok {
		return d.resolve(text), nil
	}
	if !credentialName.MatchString(name) {
		return "", fault{what: "is not the name of a credential", do: "as in credential:google_client_secret"}
	}
	folder := ""
	if d.env != nil {
		folder, _ = d.env("CREDENTIALS_DIRECTORY")
	}
	if !filepath.IsAbs(folder) {
		return "", fault{
			what: "names a credential, but systemd gave this process none",
			do:   "LoadCredential= in the unit; in a shell CREDENTIALS_DIRECTORY=/run/credentials/loginwall.service",
		}
	}
	return filepath.Join(folder, name), nil
}

var credentialName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}$`)

func (d *decoder) resolve(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(d.folder, path)
}

// parseAudit returns stderr, off, or file: with an absolute path behind it.
func (d *decoder) parseAudit(text string) (string, error) {
	path, ok := strings.CutPrefix(text, AuditFile)
	switch {
	case text == AuditStderr || text == AuditOff:
		return text, nil
	case !ok || path == "" || strings.HasSuffix(path, "/") || parseLine(path) != nil:
		return "", fault{what: "is none of stderr, off and file:PATH", do: "as in file:/var/log/loginwall/audit.log"}
	}
	return AuditFile + d.resolve(path), nil
}

// parseLine checks a text that is shown or sent: one line of characters that can
// be seen, so that nothing in a header, a log or a page is other than it looks.
func parseLine(text string) error {
	switch {
	case !utf8.ValidString(text):
		return fault{what: "is not valid UTF-8"}
	case strings.TrimSpace(text) != text:
		return fault{what: "begins or ends with a blank", do: "write it without"}
	case len(text) > 1000:
		return fault{what: "is too long", do: "at most 1000 bytes"}
	case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fault{what: "holds a character that cannot be seen", do: "one line of plain text"}
	}
	return nil
}

func oneOf[T ~string](text string, words ...T) (T, error) {
	if slices.Contains(words, T(text)) {
		return T(text), nil
	}
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = string(w)
	}
	f := fault{what: "is not known here", do: "one of " + strings.Join(list, ", ")}
	if meant := nearest(text, list); meant != "" {
		f.fix = "did you mean " + meant + "?"
	}
	return "", f
}

func parseLevel(text string) (slog.Level, error) {
	word, err := oneOf(text, "debug", "info", "warn", "error")
	if err != nil {
		return 0, err
	}
	var level slog.Level
	err = level.UnmarshalText([]byte(word))
	return level, err
}

func parseDuration(kind, text string) (time.Duration, error) {
	const how = "a number with a unit, as in 90s, 15m or 168h"
	value, err := time.ParseDuration(text)
	if err != nil {
		f := fault{what: "is not a duration", do: how}
		number, isDays := strings.CutSuffix(text, "d")
		if n, err := strconv.Atoi(number); err == nil && 0 < n && n < 1e5 {
			f.fix = "write " + text + "s"
			if isDays {
				f.fix = "days are not a unit here: write " + strconv.Itoa(24*n) + "h"
			}
		}
		return 0, f
	}
	switch {
	case value < 0:
		return 0, fault{what: "is negative", do: how}
	case kind == "from_1s" && value < time.Second:
		return 0, fault{what: "is too short", do: "1s or more"}
	case kind == "positive" && value == 0:
		return 0, fault{what: "would wait for ever", do: how}
	}
	return value, nil
}

func parseCount(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 100 || n > 1_000_000_000 || strconv.Itoa(n) != text {
		return 0, fault{what: "is not a number from 100 on", do: "as in 100000"}
	}
	return n, nil
}

var sizeText = regexp.MustCompile(`^([1-9][0-9]{0,8})(B|KiB|MiB|)$`)

func parseSize(text string) (Size, error) {
	m := sizeText.FindStringSubmatch(text)
	if m == nil {
		return 0, fault{what: "is not a size", do: "bytes, as in 65536, or with a unit, as in 64KiB or 1MiB"}
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0, err
	}
	switch m[2] {
	case "KiB":
		n <<= 10
	case "MiB":
		n <<= 20
	}
	if n < 4<<10 || n > 1<<20 {
		return 0, fault{what: "is out of range", do: "from 4KiB to 1MiB"}
	}
	return Size(n), nil
}

// parseSecret accepts what a provider may hand out (RFC 6749, appendix A.2) and
// refuses what happens to secrets on their way into a file.
func parseSecret(text string) (Secret, error) {
	text = strings.TrimRight(text, "\r\n")
	switch {
	case strings.TrimSpace(text) == "":
		return Secret{}, fault{what: "is empty"}
	case strings.HasPrefix(text, "\ufeff") || !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return Secret{}, fault{what: "is not plain UTF-8 text", do: "save it without a byte order mark"}
	case strings.HasPrefix(text, "{") && strings.Contains(text, `"`):
		return Secret{}, fault{what: "looks like JSON", do: "put in the value of client_secret alone, without anything around it"}
	case strings.ContainsAny(text, "\r\n"):
		return Secret{}, fault{what: "has more than one line", do: "nothing but the secret"}
	case strings.TrimSpace(text) != text:
		return Secret{}, fault{what: "begins or ends with a blank", do: "nothing but the secret"}
	case strings.Trim(text, `"'`) != text:
		return Secret{}, fault{what: "begins or ends with a quotation mark", do: "nothing but the secret"}
	case strings.ContainsFunc(text, unicode.IsControl):
		return Secret{}, fault{what: "holds a control character", do: "nothing but the secret"}
	case isPlaceholder(text):
		return Secret{}, fault{what: "is a placeholder", do: "put in the secret that the provider shows for this client"}
	}
	return auth.NewSecret(text), nil
}

func parseClientID(text string) (string, error) {
	const do = "copy it from the provider's console"
	switch {
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fault{what: "holds a blank, or a character that no client id has", do: do}
	case strings.Trim(text, `"'`) != text:
		return "", fault{what: "begins or ends with a quotation mark", do: do}
	case isPlaceholder(strings.TrimSuffix(text, ".apps.googleusercontent.com")):
		return "", fault{what: "is a placeholder", do: do}
	}
	return text, nil
}

var (
	placeholderText = regexp.MustCompile(`^((GOCSPX-)?(?i:your)[-_ ].*|<.*>|\{\{.*\}\}|\[.*\]|\$\{?[A-Z_][A-Z0-9_]*\}?|\$\(.*\)|(GOCSPX)?[-_]*([xX]{3,}|\*{3,}|\.{3,}|\?{3,}))$`)
	placeholderWord = regexp.MustCompile(`^(change(me|it|this)|replace(me|it|this)?|(put|fill|insert|paste)(me|in|here|it|this)*|fixme|todo|tbd|placeholder|redacted|(gocspx)?your(google|oidc|oauth2?)?(client)?(id|secret|key)(here)?)$`)
)

// isPlaceholder recognises what examples put where a value belongs. Somebody who
// starts with one of these gets an answer from us, not from the provider, and a
// secret that everybody knows protects nothing.
func isPlaceholder(text string) bool {
	letters := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, text)
	return placeholderText.MatchString(text) || placeholderWord.MatchString(letters)
}

func parseEmail(text string) (string, error) {
	name, domain, found := strings.Cut(text, "@")
	if _, err := auth.ParseDomain(domain); found && (name == "" || name == "*") && err == nil {
		return "", fault{what: "is not an address", do: "a whole domain belongs under domains", fix: "to let in the whole domain put " + domain + " under domains"}
	}
	// The local part may hold a star, but nobody who writes one means it.
	email, err := auth.ParseEmail(text)
	if err != nil || strings.Contains(email, "*") {
		return "", withoutBlanks(text, fault{what: "is not an e-mail address", do: "write it as name@example.com, without anything around it"})
	}
	return email, nil
}

func parseDomain(text string) (string, error) {
	const do = "write it as example.com, without anything around it"
	domain, err := auth.ParseDomain(text)
	if err == nil {
		if _, err := netip.ParseAddr(domain); err == nil {
			return "", fault{what: "is an address, not a domain", do: do}
		}
		return domain, nil
	}
	f := fault{what: "is not a domain", do: do}
	switch bare, isPart := strings.CutPrefix(strings.TrimPrefix(text, "*"), "."); {
	case text == "*":
		f.do = "to let in every account of the provider write everyone: true"
	case isPart && isDomain(bare):
		f.what = "is not a domain: a domain never means those below it"
		f.fix = "write each of them, as in " + bare + ", sub." + bare
	case strings.HasPrefix(text, "@") && isDomain(text[1:]):
		f.fix = "write " + text[1:]
	case strings.Contains(text, "@"):
		f.do = "a single address belongs under emails"
	case strings.HasSuffix(text, ".") && isDomain(strings.TrimSuffix(text, ".")):
		f.fix = "write " + strings.TrimSuffix(text, ".") + ", without the dot at the end"
	case strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII }):
		f.do = "write a name in other scripts in its xn-- form"
	default:
		return "", withoutBlanks(text, f)
	}
	return "", f
}

func isDomain(text string) bool {
	_, err := auth.ParseDomain(text)
	return err == nil
}

func withoutBlanks(text string, f fault) fault {
	if bare := strings.TrimSpace(text); bare != text && bare != "" {
		f.what = "begins or ends with a blank"
		f.fix = "write " + bare
	}
	return f
}

func parseMethod(text string) (string, error) {
	upper := strings.ToUpper(text)
	switch {
	case text == "*" || upper == "ALL" || upper == "ANY":
		return "", fault{what: "is not a method", do: "for all methods take the line methods out"}
	case !methodText.MatchString(upper):
		return "", fault{what: "is not a method", do: "as in GET or POST"}
	case upper != text:
		return "", fault{what: "is not a method: methods are in capitals", do: "as in GET or POST", fix: "write " + upper}
	}
	return text, nil
}

var methodText = regexp.MustCompile(`^[A-Z][A-Z0-9_-]{0,31}$`)

// parsePath takes the plain paths that every server reads alike; how the odd ones
// that people request are judged by them is the policy's business.
func parsePath(text string) (string, error) {
	switch {
	case !strings.HasPrefix(text, "/"):
		return "", fault{what: "does not begin with a slash", do: "as in /webhooks/"}
	case strings.Contains(text, "*"):
		return "", fault{what: "holds a star, which means nothing here", do: "with a slash at the end it is everything below: /webhooks/"}
	case strings.ContainsAny(text, "?#"):
		return "", fault{what: "is more than a path", do: "a rule cannot look at what is behind ? or #"}
	case !pathText.MatchString(text) || len(text) > 1000:
		return "", fault{what: "is not a plain path", do: "ASCII letters, digits and dashes between single slashes; no % or ;, no dots at the end of a part"}
	case strings.HasPrefix(strings.ToLower(text)+"/", "/_auth/"):
		return "", fault{what: "is the wall's own", do: "everything below /_auth/ is served by the wall and needs no rule"}
	}
	return text, nil
}

var pathText = regexp.MustCompile(`^(/[A-Za-z0-9._~!&'()+,=:@-]*[A-Za-z0-9_~!&'()+,=:@-])*/?$`)

// authority reads host and port of a URL, in the canonical form: lower case, no
// brackets, no port when there is none. Every form that a browser would read as
// another host than it looks (RFC 3986, section 3.2.2, against the URL standard)
// is an error.
func authority(text string) (host, port string, err error) {
	if strings.Contains(text, "@") {
		return "", "", fault{what: "holds a user name or a password", do: "leave out what stands before the @"}
	}
	if inner, rest, ok := strings.Cut(strings.TrimPrefix(text, "["), "]"); ok && strings.HasPrefix(text, "[") {
		addr, err := netip.ParseAddr(inner)
		if err != nil || !addr.Is6() || addr.Is4In6() || addr.Zone() != "" || rest != "" && rest[0] != ':' {
			return "", "", fault{what: "has no valid IPv6 address in its brackets"}
		}
		host, port = addr.String(), rest
	} else {
		if strings.Count(text, ":") > 1 {
			return "", "", fault{what: "has more than one colon behind its scheme", do: "an IPv6 address needs brackets"}
		}
		name, _, _ := strings.Cut(text, ":")
		if host, err = hostName(name); err != nil {
			return "", "", err
		}
		port = text[len(name):]
	}
	if port != "" {
		port = port[1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' {
			return "", "", fault{what: "has no valid port", do: "a number from 1 to 65535 behind the host"}
		}
	}
	return host, port, nil
}

func hostName(text string) (string, error) {
	host := strings.ToLower(text)
	switch {
	case host == "":
		return "", fault{what: "has no host"}
	case strings.HasSuffix(host, "."):
		return "", fault{what: "has a host with a dot at the end", do: "leave the dot out"}
	case !hostText.MatchString(host) || len(host) > 253:
		return "", fault{what: "has no valid host", do: "letters, digits, dashes and dots; a name in other scripts in its xn-- form"}
	}
	// The last label decides whether a browser reads an IPv4 address, also from
	// forms such as 127.1 or 0x7f.0.0.1.
	if numericHost.MatchString(host) {
		if addr, err := netip.ParseAddr(host); err != nil || !addr.Is4() {
			return "", fault{what: "has a host that is half an address", do: "write an IPv4 address with four decimal numbers"}
		}
	}
	return host, nil
}

var (
	hostText    = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$`)
	numericHost = regexp.MustCompile(`(^|\.)([0-9]+|0x[0-9a-f]*)$`)
)

// isLoopback tells whether a canonical host is this machine for every browser
// (RFC 6761, section 6.3, for localhost).
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && addr.IsLoopback()
}

// hostPort joins the two for a URL; the default port of the scheme is left out.
func hostPort(scheme, host, port string) string {
	if port != "" && port != defaultPort(scheme) {
		return net.JoinHostPort(host, port)
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

func parsePublicURL(text string) (*url.URL, error) {
	const do = "as in https://tool.example.com"
	scheme, rest, found := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	if !found || scheme != "https" && scheme != "http" {
		f := fault{what: "is not an http or https URL", do: do}
		if host, port, err := authority(text); err == nil {
			f.fix = "write https://" + hostPort("https", host, port)
		}
		return nil, f
	}
	if i := strings.IndexAny(rest, `/?#\`); i >= 0 {
		f := fault{what: "is more than scheme, host and port", do: do}
		if host, port, err := authority(rest[:i]); err == nil {
			f.fix = "write " + scheme + "://" + hostPort(scheme, host, port)
		}
		return nil, f
	}
	host, port, err := authority(rest)
	if err != nil {
		return nil, err
	}
	if strings.Contains(host, "_") {
		return nil, fault{what: "has no valid host", do: "letters, digits, dashes and dots"}
	}
	if scheme == "http" && !isLoopback(host) {
		if port == "80" {
			port = ""
		}
		return nil, fault{
			what: "is not https", do: "http is only for this machine, as in http://localhost:8080; TLS may end in front of the wall",
			fix: "write https://" + hostPort("https", host, port) + ", TLS may end in front of the wall; http is only for this machine",
		}
	}
	return &url.URL{Scheme: scheme, Host: hostPort(scheme, host, port)}, nil
}

func (d *decoder) parseUpstream(text string) (Upstream, error) {
	if text == "none" {
		return Upstream{Kind: UpstreamNone}, nil
	}
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		full, err := d.parseSocket(path)
		if err != nil {
			return Upstream{}, err
		}
		return Upstream{Kind: UpstreamUnix, Path: full}, nil
	}
	const do = "as in http://127.0.0.1:3000, https://…, h2c://…, unix:/run/app.sock, or none"
	scheme, rest, found := strings.Cut(text, "://")
	kind := UpstreamKind(strings.ToLower(scheme))
	if !found || kind != UpstreamHTTP && kind != UpstreamHTTPS && kind != UpstreamH2C {
		f := fault{what: "is not an upstream", do: do}
		if host, port, err := authority(text); !found && err == nil {
			f.what = "has no scheme"
			f.fix = "write http://" + hostPort("http", host, port)
		}
		return Upstream{}, f
	}
	rest = strings.TrimSuffix(rest, "/")
	if strings.ContainsAny(rest, `/?#\`) {
		return Upstream{}, fault{what: "is more than scheme, host and port", do: "the app gets every path as it came; " + do}
	}
	host, port, err := authority(rest)
	if err != nil {
		return Upstream{}, err
	}
	return Upstream{Kind: kind, Host: net.JoinHostPort(host, cmp.Or(port, defaultPort(string(kind))))}, nil
}

// maxSocket is how long the path of a socket may be (unix(7), sun_path).
const maxSocket = 107

// parseSocket reads what stands behind unix: and returns the absolute path.
func (d *decoder) parseSocket(path string) (string, error) {
	f := fault{what: "is not a socket's path", do: "as in unix:/run/app.sock"}
	if bare := strings.Trim(path, "/"); bare != "" {
		f.fix = "write unix:/" + bare
	}
	if err := parseLine(path); err != nil || path == "" || strings.HasPrefix(path, "//") || strings.HasSuffix(path, "/") || strings.ContainsAny(path, "@?#") {
		return "", f
	}
	full := d.resolve(path)
	if len(full) > maxSocket {
		return "", fault{what: "is too long for a socket's path", do: "107 bytes at most, the folder included"}
	}
	return full, nil
}

// parseListen returns host:port, unix: with an absolute path behind it, or systemd.
func (d *decoder) parseListen(text string) (string, error) {
	if text == ListenSystemd {
		return text, nil
	}
	path, ok := strings.CutPrefix(text, "unix:")
	if !ok {
		return parseAddress(text)
	}
	full, err := d.parseSocket(path)
	return "unix:" + full, err
}

func parseIssuer(text string) (string, error) {
	const do = "as in https://accounts.google.com, exactly as the provider names itself"
	scheme, rest, found := strings.Cut(text, "://")
	if !found || scheme != "https" && scheme != "http" {
		f := fault{what: "is not an https URL", do: do}
		if host, port, err := authority(text); err == nil {
			f.fix = "write https://" + hostPort("https", host, port)
		}
		return "", f
	}
	if err := parseLine(text); err != nil {
		return "", err
	}
	if strings.ContainsAny(rest, `?#\ `) {
		return "", fault{what: "is more than scheme, host, port and path", do: do}
	}
	if base, ok := strings.CutSuffix(text, "/.well-known/openid-configuration"); ok {
		return "", fault{what: "is the address of the discovery document, not the issuer", do: do, fix: "write " + base}
	}
	name, _, _ := strings.Cut(rest, "/")
	host, _, err := authority(name)
	if err != nil {
		return "", err
	}
	if scheme == "http" && !isLoopback(host) {
		return "", fault{what: "is not https", do: "http is only for a provider on this machine"}
	}
	return text, nil
}

// parseDirectory reads the URL of a CA's directory (RFC 8555, section 7.1.1).
func parseDirectory(text string) (string, error) {
	const do = "as in https://acme-v02.api.letsencrypt.org/directory"
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return "", fault{what: "is not an https URL", do: do}
	}
	return text, parseLine(text)
}

func parseAddress(text string) (string, error) {
	const do = "as in :8080, or 127.0.0.1:8080 for this machine alone"
	if text == "systemd" || strings.HasPrefix(text, "unix:") {
		return "", fault{what: "is not in this version", do: do}
	}
	host, port, found := cutLast(text, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	if !found || err != nil || strconv.FormatUint(n, 10) != port || strings.Contains(text, "/") {
		f := fault{what: "is not host:port", do: do}
		if n, err := strconv.ParseUint(text, 10, 16); err == nil {
			f.fix = "write :" + strconv.FormatUint(n, 10)
		} else if host, _, err := authority(text); err == nil {
			f.fix = "write " + net.JoinHostPort(host, "8080")
		}
		return "", f
	}
	if host == "" {
		return ":" + port, nil
	}
	if host == "*" {
		return "", fault{what: "is not host:port", do: do, fix: "write :" + port}
	}
	name, rest, err := authority(host)
	if err != nil || rest != "" {
		return "", fault{what: "has no valid host before its port", do: do + "; an IPv6 address needs brackets"}
	}
	return net.JoinHostPort(name, port), nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// parsePrefix reads an address or a CIDR of proxies that are believed. One that
// holds a good part of the internet is refused: everybody could then say where a
// request came from, and to which host and path it went.
func parsePrefix(text string) (netip.Prefix, error) {
	const do = "an address or a CIDR, as in 10.1.2.3 or 10.0.0.0/8, or unix"
	prefix, err := netip.ParsePrefix(text)
	if addr, addrErr := netip.ParseAddr(text); addrErr == nil && addr.Zone() == "" {
		prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil {
		return netip.Prefix{}, fault{what: "is not an address", do: do}
	}
	if prefix.Masked() != prefix {
		return netip.Prefix{}, fault{what: "is not a CIDR: it has bits behind the mask", do: do, fix: "write " + prefix.Masked().String() + " or " + prefix.Addr().String()}
	}
	// A peer on an IPv4-mapped address is an IPv4 peer.
	if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	addr, widest := prefix.Addr(), 8
	switch {
	case addr.Is6() && prefix.Contains(netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff})):
		widest = 97 // holds all of IPv4
	case addr.Is6() && (addr.IsPrivate() || addr.IsLinkLocalUnicast()):
		widest = 7 // fc00::/7
	case addr.Is6():
		widest = 16
	}
	if prefix.Bits() < widest {
		return netip.Prefix{}, fault{what: "holds everybody, or near enough", do: "name your own proxies: " + do}
	}
	return prefix, nil
}

func (d *decoder) parseStore(text string) (Store, error) {
	const do = "as in sqlite:loginwall.db"
	path, ok := strings.CutPrefix(text, "sqlite:")
	switch {
	case strings.HasPrefix(text, "postgres://"), strings.HasPrefix(text, "postgresql://"):
		if _, rest, _ := strings.Cut(text, "://"); strings.Trim(rest, "/") == "" {
			return Store{}, fault{what: "names no server", do: "as in postgres://user:password@host/database"} //nolint:gosec // an example
		}
		return Store{Shared: auth.NewSecret(text)}, parseLine(text)
	case !ok:
		f := fault{what: "is not a store", do: do}
		if !strings.Contains(text, ":") {
			f.fix = "write sqlite:" + text
		}
		return Store{}, f
	case path == "" || strings.HasSuffix(path, "/"):
		return Store{}, fault{what: "names no file", do: do}
	case strings.HasPrefix(path, "//"):
		return Store{}, fault{what: "is not a store", do: do, fix: "write sqlite:/" + strings.TrimLeft(path, "/")}
	case strings.Contains(path, ":memory:") || strings.HasPrefix(path, "file:"):
		return Store{}, fault{what: "is not a file's path", do: do}
	case strings.ContainsAny(path, "?#%"):
		return Store{}, fault{what: "has options, which are not supported", do: do}
	}
	return Store{Path: d.resolve(path)}, parseLine(path)
}
