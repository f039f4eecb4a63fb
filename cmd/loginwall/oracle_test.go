package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/loginwall/loginwall/auth/devidp"
)

// An oracle knows what must hold after every request, whatever the case at hand is
// about:
//
//	O1 each request at the upstream tells of exactly one person, the one whose
//	   session it came with, and of nobody on public routes
//	O2 no answer of the wall's own holds a byte of the upstream
//	O3 no answer of the wall's own leads anywhere but to our origin or to the
//	   provider's authorization endpoint
//	O4 no secret stands in a page, a log or a metric
//	O5 no panic, no data race; goroutines and descriptors return to where they were
//	O6 every answer of the wall's own is no-store, but for people's pictures, and carries its security headers
//	O7 every cookie of ours has its full set of attributes
//
// It shares no code with what it judges.
type oracle struct {
	owners    map[string]string // values of session cookies, and whose they are
	signingIn string            // whom the provider signed in last
	names     map[string]string // what the provider calls people
	secrets   []string
	configs   []judgedConfig
	judged    int // of the upstream's requests
	atRest    map[string]float64
	walls     []*exec.Cmd // of a script
}

// A judgedConfig is as much of a configuration as the oracle has to know. Where a
// script has several, each may be in force.
type judgedConfig struct {
	Routes []struct {
		Path    string
		Methods []string
		Access  string
	}
	Headers struct {
		Profiles []string
		Set      map[string]string
	}
	Trusted   []string `yaml:"trusted_proxies"`
	Directory struct {
		PublicURL string `yaml:"public_url"`
	}
}

func newOracle() oracle {
	o := oracle{owners: map[string]string{}, names: map[string]string{}, secrets: []string{testSecret}}
	for _, p := range devidp.DefaultPeople() {
		o.names[p.Email] = p.Name
	}
	return o
}

// configured takes note of a configuration that will be in force.
func (o *oracle) configured(t tester, text string) {
	var c judgedConfig
	if yaml.Unmarshal([]byte(text), &c) != nil {
		return // such a file never comes into force
	}
	if c.Headers.Profiles == nil {
		c.Headers.Profiles = []string{"forwarded"}
	}
	o.configs = append(o.configs, c)
}

// judge looks at one answer, and at all that has reached the upstream meanwhile.
// sent is what the client sent, or as much of it as holds its cookies.
func (o *oracle) judge(t tester, r *rig, sent string, a *answer) {
	o.learn(sent, a)
	o.judgeUpstream(t, r, sent)
	for _, line := range a.Header["Set-Cookie"] {
		o.judgeCookie(t, r, line)
	}
	if a.Header.Get("X-Loginwall") == "" {
		return // the upstream's, or net/http's own word on what is no request at all
	}
	o.judgeHeader(t, a)
	o.judgeLocation(t, r, a)
	if bytes.Contains(a.body, []byte(upstreamMark)) {
		t.Fatalf("O2: an answer of the wall's own holds the upstream's bytes:\n%s", a.body)
	}
	o.judgeSecrets(t, "a page", string(a.body))
}

// learn notes whose the sessions are that an answer starts or continues, and that
// its cookies are secrets.
func (o *oracle) learn(sent string, a *answer) {
	for _, line := range a.Header["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil || !isOurs(c.Name) || len(c.Value) < 20 {
			continue
		}
		o.secrets = append(o.secrets, c.Value)
		if strings.Contains(c.Name, "-a-") {
			continue
		}
		owner := o.signingIn
		if before := o.ownersIn(sent); a.StatusCode != http.StatusSeeOther && len(before) == 1 {
			owner = before[0]
		}
		o.owners[c.Value] = strings.ToLower(owner)
	}
}

// ownersIn returns whose session cookies stand in what was sent.
func (o *oracle) ownersIn(sent string) []string {
	var found []string
	for value, owner := range o.owners {
		if strings.Contains(sent, value) && !slices.Contains(found, owner) {
			found = append(found, owner)
		}
	}
	return found
}

// judgeUpstream is O1.
func (o *oracle) judgeUpstream(t tester, r *rig, sent string) {
	for _, got := range r.upstream.since(o.judged) {
		o.judged++
		if got.request == nil {
			t.Fatalf("O1: what reached the upstream is no request:\n%q", got.raw)
			return
		}
		var problems []string
		for _, c := range o.configs {
			problem := o.problemAt(r, &c, got, o.ownersIn(sent))
			if problem == "" {
				problems = nil
				break
			}
			problems = append(problems, problem)
		}
		if problems != nil {
			t.Fatalf("O1: %s, in what reached the upstream:\n%s", problems[0], got.raw)
		}
	}
}

// problemAt says what is wrong with a request at the upstream, if c is in force
// and these are the owners of the sessions that were sent.
func (o *oracle) problemAt(r *rig, c *judgedConfig, got received, owners []string) string {
	fields := fieldsOf(got.raw)
	if len(fields) == 0 || fields[0].name != "Host" {
		return "the Host does not stand first"
	}
	for name := range got.request.Trailer {
		fields = append(fields, field{name, got.request.Trailer.Get(name)})
	}
	for name, want := range map[string]string{"Host": r.host(), "X-Forwarded-Host": r.host(), "X-Forwarded-Proto": schemeOf(r.publicURL), "X-Forwarded-For": "127.0.0.1"} {
		values := valuesOf(fields, name)
		if r.socket != "" && name == "X-Forwarded-For" && len(values) == 0 {
			continue // there is no address to tell
		}
		if len(values) != 1 || values[0] != want && (c.Trusted == nil || name == "Host") {
			return fmt.Sprintf("%s is %q", name, values)
		}
	}
	if ourCookie.MatchString(strings.Join(valuesOf(fields, "Cookie"), "\n")) {
		return "a cookie of ours"
	}
	for value := range o.owners {
		if slices.ContainsFunc(fields, func(f field) bool { return strings.Contains(f.value, value) }) {
			return "the value of a session's cookie"
		}
	}
	if c.public(got.request.Method, got.request.RequestURI) {
		return strangeField(fields, nil)
	}
	switch len(owners) {
	case 0:
		return "no session was sent with it"
	case 1:
	default:
		return "several people's sessions were sent with it"
	}
	told, optional := o.told(c, owners[0])
	if strange := strangeField(fields, append(keysOf(told), optional...)); strange != "" {
		return strange
	}
	for name, want := range told {
		values := valuesOf(fields, name)
		if want == "" && len(values) == 0 {
			continue
		}
		if len(values) != 1 || values[0] != want {
			return fmt.Sprintf("%s is %q, not %q", name, values, want)
		}
	}
	return ""
}

// told returns the headers that must tell of a person, and those that may.
func (o *oracle) told(c *judgedConfig, email string) (told map[string]string, optional []string) {
	local, _, _ := strings.Cut(email, "@")
	name, known := o.names[email]
	if !known {
		name = strings.ToUpper(local[:1]) + local[1:]
	}
	told = map[string]string{}
	for _, profile := range c.Headers.Profiles {
		switch profile {
		case "forwarded":
			told["X-Forwarded-User"], told["X-Forwarded-Email"] = email, email
			told["X-Forwarded-Preferred-Username"], told["X-Forwarded-Name"] = local, name
		case "grafana":
			told["X-Webauth-User"], told["X-Webauth-Email"], told["X-Webauth-Name"] = email, email, name
		case "gitea":
			told["X-Webauth-User"], told["X-Webauth-Email"], told["X-Webauth-Fullname"] = local, email, name
		case "remote-user":
			told["Remote-User"], told["Remote-Email"], told["Remote-Name"] = email, email, name
		case "jenkins":
			told["X-Forwarded-User"], told["X-Forwarded-Email"], told["X-Forwarded-Displayname"] = email, email, name
		case "sonarqube":
			told["X-Forwarded-Login"], told["X-Forwarded-Email"], told["X-Forwarded-Name"] = email, email, name
		case "authrequest":
			told["X-Auth-Request-User"], told["X-Auth-Request-Email"], told["X-Auth-Request-Preferred-Username"] = email, email, local
		case "assertion":
			optional = append(optional, "X-Loginwall-Assertion")
		}
	}
	for name := range c.Headers.Set {
		delete(told, http.CanonicalHeaderKey(name))
		optional = append(optional, name)
	}
	return told, optional
}

// public says that a route lets everybody in. Only plain paths can be public.
func (c *judgedConfig) public(method, target string) bool {
	path, _, _ := strings.Cut(target, "?")
	if !plainPath.MatchString(path) || strings.Contains(path, "/../") || strings.Contains(path, "/./") {
		return false
	}
	for _, route := range c.Routes {
		below := strings.HasSuffix(route.Path, "/") && strings.HasPrefix(path, route.Path)
		if path != route.Path && !below {
			continue
		}
		if route.Methods == nil || slices.Contains(route.Methods, method) || method == http.MethodHead && slices.Contains(route.Methods, http.MethodGet) {
			return route.Access == "public"
		}
	}
	return false
}

var (
	plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*/?$`)
	ourCookie = regexp.MustCompile(`(?i)(^|[;\s])(__Host-)?loginwall(-[^=;\s]*)?\s*=`)
	// identityName is what apps take for a statement of the proxy in front of them,
	// when all that is no letter and no digit is a dash.
	identityName = regexp.MustCompile(`^(x-forwarded(-.*)?|forwarded|remote-.*|x-remote-.*|x-webauth-.*|x-auth-request-.*|x-authentik-.*|` +
		`x-goog-authenticated-user-.*|x-goog-iap-.*|cf-access-.*|tailscale-.*|x-pomerium-.*|x-real-ip|x-original-.*|x-rewrite-.*|proxy|x-loginwall-.*)$`)
)

func isOurs(cookieName string) bool { return ourCookie.MatchString(cookieName + "=") }

// isSession tells the session's cookie from those around a login.
func isSession(cookieName string) bool {
	return isOurs(cookieName) && !strings.Contains(cookieName, "-a-") && !strings.HasSuffix(cookieName, "-rounds")
}

// strangeField returns what tells of somebody and should not.
func strangeField(fields []field, expected []string) string {
	for _, f := range fields {
		switch f.name {
		case "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Loginwall-Hop":
			continue
		}
		if identityName.MatchString(dashed(f.name)) && !slices.ContainsFunc(expected, func(name string) bool { return name == f.name }) {
			return fmt.Sprintf("%s: %s is nobody's to say", f.name, f.value)
		}
	}
	return ""
}

func dashed(name string) string {
	return regexp.MustCompile(`[^a-z0-9]`).ReplaceAllString(strings.ToLower(name), "-")
}

// A field is one line of a header, its name as it was spelt.
type field struct{ name, value string }

func fieldsOf(raw string) []field {
	head, _, _ := strings.Cut(raw, "\r\n\r\n")
	var fields []field
	for _, line := range strings.Split(head, "\r\n")[1:] {
		name, value, _ := strings.Cut(line, ":")
		fields = append(fields, field{name, strings.TrimPrefix(value, " ")})
	}
	return fields
}

func valuesOf(fields []field, name string) []string {
	var values []string
	for _, f := range fields {
		if f.name == name {
			values = append(values, f.value)
		}
	}
	return values
}

func keysOf(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

func schemeOf(rawURL string) string {
	scheme, _, _ := strings.Cut(rawURL, ":")
	return scheme
}

// judgeHeader is O6. What may be cached is no page and sets no cookie.
func (o *oracle) judgeHeader(t tester, a *answer) {
	h := a.Header
	cacheable := a.StatusCode == http.StatusOK && h["Set-Cookie"] == nil &&
		slices.Contains([]string{"text/css; charset=utf-8", "image/svg+xml", "application/jwk-set+json"}, h.Get("Content-Type"))
	portrait := a.StatusCode == http.StatusOK && h.Get("Content-Type") == "image/jpeg"
	if caching := h.Get("Cache-Control"); caching != "no-store" && !cacheable && !(portrait && caching == "private, max-age=3600") {
		t.Fatalf("O6: Cache-Control is %q", caching)
	}
	for name, want := range map[string]string{
		"X-Request-Id": `^\S+$`, "X-Content-Type-Options": `^nosniff$`, "X-Frame-Options": `^DENY$`,
		"Content-Security-Policy": `^default-src 'none';.*frame-ancestors 'none'`, "Referrer-Policy": `^(same-origin|no-referrer)$`,
		"Cross-Origin-Opener-Policy": `^same-origin$`,
	} {
		if values := h[name]; len(values) != 1 || !regexp.MustCompile(want).MatchString(values[0]) {
			t.Fatalf("O6: %s is %q", name, values)
		}
	}
	if h["Access-Control-Allow-Origin"] != nil {
		t.Fatalf("O6: another site may read this")
	}
}

var (
	tagInPage  = regexp.MustCompile(`<[A-Za-z][^>]*>`)
	linkInPage = regexp.MustCompile(`(?i)\s(?:href|src|srcset|action|formaction|data|poster|background|content|http-equiv)\s*=\s*("[^"]*"|'[^']*'|[^\s>]*)`)
)

// judgeLocation is O3, for redirects and for what pages link to.
func (o *oracle) judgeLocation(t tester, r *rig, a *answer) {
	if a.Header["Refresh"] != nil {
		t.Fatalf("O3: Refresh: %q", a.Header["Refresh"])
	}
	switch locations := a.Header["Location"]; len(locations) {
	case 0:
	case 1:
		if problem := r.leads(locations[0]); problem != "" {
			t.Fatalf("O3: Location %q %s", locations[0], problem)
		}
	default:
		t.Fatalf("O3: several Locations: %q", locations)
	}
	if !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
		return
	}
	tags := bytes.Join(tagInPage.FindAll(a.body, -1), nil) // outside of them it is text
	for _, found := range linkInPage.FindAllSubmatch(tags, -1) {
		link := strings.Trim(string(found[1]), `"'`)
		own := strings.HasPrefix(link, "/") && !strings.HasPrefix(link, "//") && !strings.ContainsAny(link, "\\\t\r\n")
		meta := regexp.MustCompile(`^(width=device-width[a-z0-9=,. -]*|light dark|noindex[a-z, ]*|same-origin)$`).MatchString(link)
		if !own && !meta && r.leads(link) != "" {
			t.Fatalf("O3: a page holds %s", found[0])
		}
	}
}

// leads says what is wrong with an absolute address that the wall gave. A browser
// reads printable ASCII without a backslash as url.Parse does.
func (r *rig) leads(address string) string {
	if strings.ContainsFunc(address, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '\\' }) {
		return "holds bytes that no address holds"
	}
	u, err := url.Parse(address)
	if err != nil {
		return err.Error()
	}
	if strings.HasPrefix(address, r.publicURL+"/") && u.Scheme+"://"+u.Host == r.publicURL && u.User == nil {
		return ""
	}
	for _, c := range r.oracle.configs { // the one page of another origin, and nothing more
		if own := c.Directory.PublicURL; own != "" && address == own+"/_auth/users" {
			return ""
		}
	}
	if !strings.HasPrefix(address, r.issuer+"/authorize?") {
		return "leaves the origin"
	}
	if back := u.Query()["redirect_uri"]; len(back) != 1 || back[0] != r.publicURL+"/_auth/callback" {
		return fmt.Sprintf("comes back to %q", back)
	}
	return ""
}

// judgeCookie is O7; deletions are held to it too.
func (o *oracle) judgeCookie(t tester, r *rig, line string) {
	c, err := http.ParseSetCookie(line)
	if err != nil {
		t.Fatalf("O7: a browser cannot read Set-Cookie: %q", line)
		return
	}
	if !strings.Contains(strings.ToLower(c.Name), "loginwall") {
		return // the app's own
	}
	https := schemeOf(r.publicURL) == "https"
	if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.Secure != https ||
		strings.HasPrefix(c.Name, "__Host-") != https || c.MaxAge == 0 || len(line) > 4096 {
		t.Fatalf("O7: the cookie lacks attributes: %s", line)
	}
}

// judgeSecrets is O4.
func (o *oracle) judgeSecrets(t tester, where, text string) {
	for _, secret := range o.secrets {
		if strings.Contains(text, secret) {
			t.Fatalf("O4: %s holds the secret %s", where, secret)
		}
	}
}

// judgeLog is O4 and O5 for what the wall wrote in its life.
func (o *oracle) judgeLog(t tester, log string) {
	o.judgeSecrets(t, "the log", log)
	if sign := regexp.MustCompile(`(?m)DATA RACE|^panic:|^fatal error:|^goroutine \d|"msg":"panic"|msg=panic`).FindString(log); sign != "" {
		t.Fatalf("O5: %s\n%s", sign, log)
	}
}

// rest notes how much the wall holds when it does nothing.
func (o *oracle) rest(t tester, r *rig) {
	o.atRest = map[string]float64{}
	text := r.metrics(t)
	for _, name := range []string{"go_goroutines", "process_open_fds"} {
		o.atRest[name] = metric(text, name)
	}
}

// judgeMetrics is O4 and O5 for a wall that has nothing left to do.
func (o *oracle) judgeMetrics(t tester, r *rig) {
	o.judgeSecrets(t, "a metric", r.metrics(t))
	r.upstream.hangUp()
	const slack = 4 // the provider's connections, and the one that asks
	for name, before := range o.atRest {
		var now float64
		end := time.Now().Add(patience)
		for now = metric(r.metrics(t), name); now > before+slack && time.Now().Before(end); now = metric(r.metrics(t), name) {
			time.Sleep(20 * time.Millisecond)
		}
		if now > before+slack {
			t.Fatalf("O5: %s is %v, and was %v", name, now, before)
		}
	}
}

func (r *rig) metrics(t tester) string {
	response, err := r.client.Get("http://" + r.ops + "/metrics")
	check(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	check(t, err)
	return string(text)
}

// metric returns the value of one without labels.
func metric(text, name string) float64 {
	_, rest, _ := strings.Cut(text, "\n"+name+" ")
	line, _, _ := strings.Cut(rest, "\n")
	value, err := strconv.ParseFloat(line, 64)
	if err != nil {
		return -1
	}
	return value
}
