package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/config"
)

// told returns the messages without the name of the file.
func told(err error) string {
	if err == nil {
		return ""
	}
	var lines []string
	for line := range strings.Lines(err.Error()) {
		_, line, _ = strings.Cut(line, "/loginwall.yaml:")
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

// CFG-238, CFG-239, CFG-240, POL-165: everything that is wrong is told at once, in the order of the file.
func TestProblems(t *testing.T) {
	const provider = "google: {client_id: 1.apps.googleusercontent.com, client_secret: s3cr3t}\n"
	const origin = "public_url: https://tool.example.com\nupstream: http://127.0.0.1:3000\n"
	const allow = "allow: {domains: [example.com]}\n"
	for _, row := range []struct{ name, text, want string }{
		{"empty", "", `
1: the file is empty (begin with public_url, upstream, google and allow, as in config.example.yaml)`},
		{"only comments", "# a\n# b\n", `
1: the file is empty (begin with public_url, upstream, google and allow, as in config.example.yaml)`},
		{"null", "---\n~\n", `
1: the file is empty (begin with public_url, upstream, google and allow, as in config.example.yaml)`},
		{"a word", "words\n", `
1: the file is not a list of keys and values (write lines such as public_url: https://tool.example.com)`},
		{"a list", "\n- a: b\n", `
2: the file is not a list of keys and values (write lines such as public_url: https://tool.example.com)`},
		{"nothing", "{}\n", `
1: public_url: missing (the origin that people type, as in https://tool.example.com)
1: upstream: missing (the app behind the wall, as in http://127.0.0.1:3000)
1: google: missing (the client from the Google Cloud console: client_id and client_secret_file; or oidc, for another provider)
1: allow: nobody is allowed (list domains, emails or groups; or write everyone: true, for every account of the provider)`},
		{"empty sections", origin + "google: {}\nallow: {}\n", `
3: google.client_id: missing (from the Google Cloud console)
3: google.client_secret: missing (from the Google Cloud console; or client_secret_file, the path of a file that holds it)
4: allow: nobody is allowed (list domains, emails or groups; or write everyone: true, for every account of the provider)`},
		{"second document", smallestFile + "---\nallow: {everyone: true}\n", `
8: a second document begins here (keep one, and take the line --- out)`},
		{"empty second document", smallestFile + "---\n", `
8: a second document begins here (keep one, and take the line --- out)`},
		{"broken second document", smallestFile + "---\n[\n", `
9: not valid YAML: did not find expected node content`},
		{
			"unknown keys", "publicurl: https://tool.example.com\nupstrem: http://127.0.0.1:3000\nclient_id: x\nallowed_domains: [example.com]\nzzz: 1\n" +
				"session: {max-age: 1h, idle: 1h, colour: red}\ngogle: {}\n", `
1: publicurl: unknown key (did you mean public_url?)
2: upstrem: unknown key (did you mean upstream?)
3: client_id: unknown key (did you mean google.client_id?)
4: allowed_domains: unknown key (did you mean allow.domains?)
5: zzz: unknown key (config.example.yaml has them all)
6: session.max-age: unknown key (did you mean max_age?)
6: session.idle: unknown key (did you mean idle_timeout?)
6: session.colour: unknown key (keys here: max_age, idle_timeout, login_timeout, key_file, old_key_files, max_feed_age)
7: gogle: unknown key (did you mean google?)`,
		},
		{"keys of later", smallestFile + "tls: {acme: {}}\nops_listen: unix:/run/ops.sock\n", `
9: ops_listen: "unix:/run/ops.sock" is not in this version (as in :8080, or 127.0.0.1:8080 for this machine alone)`},
		{"an unknown method", origin + "oidc: {issuer: https://login.example.com, client_id: a, client_secret: s3cr3t, auth_method: jwt}\n" + allow, `
3: oidc.auth_method: "jwt" is not known here (one of basic, post)`},
		{"ACME", smallestFile + "tls: {acme: {email: nobody, directory_url: http://ca.test/dir}, redirect_listen: 80}\n", `
8: tls.acme.email: "nobody" is not an e-mail address (write it as name@example.com, without anything around it)
8: tls.acme.directory_url: "http://ca.test/dir" is not an https URL (as in https://acme-v02.api.letsencrypt.org/directory)
8: tls.redirect_listen: "80" is not host:port (write :80)`},
		{"ACME and a certificate", smallestFile + "tls: {acme: {}, cert_file: c.pem}\n", `
8: tls.acme: stands beside a certificate of your own (keep one of the two)`},
		{"redirects", smallestFile + "tls: {acme: {}, redirect_listen: ':8080'}\n", `
8: tls.redirect_listen: is the same address as listen (browsers look on port 80: write :80)`},
		{"ACME without a name", strings.Replace(smallestFile, "tool.example.com", "192.0.2.1", 1) + "tls: {acme: {}}\n", `
8: tls.acme: no CA gives a certificate for 192.0.2.1 (write a name that the CA can look up)`},
		{"the directory on the app's origin", smallestFile + "admins: [a@example.com]\ndirectory: {public_url: 'https://Tool.example.com:443'}\n", `
9: directory.public_url: is the origin of the app (give it another host, as in https://users.example.com)`},
		{"the directory by another scheme", smallestFile + "directory: {public_url: 'http://localhost:8080'}\n", `
8: directory.public_url: has another scheme than public_url (the same listener serves both: write https://localhost:8080)`},
		{"the directory is more than an origin", smallestFile + "directory: {public_url: https://users.example.com/users}\n", `
8: directory.public_url: "https://users.example.com/users" is more than scheme, host and port (write https://users.example.com)`},
		{"the directory and ACME", smallestFile + "directory: {public_url: https://users}\ntls: {acme: {}}\n", `
9: tls.acme: no CA gives a certificate for users (write a name that the CA can look up)`},
		{"the directory is the app", strings.Replace(smallestFile, "http://127.0.0.1:3000", "https://users.example.com", 1) + "directory: {public_url: https://users.example.com}\n", `
2: upstream: is the wall itself, by directory.public_url (name the address of the app)`},
		{"pictures of a kind", smallestFile + "directory: {pictures: all}\n", `
8: directory.pictures: "all" is not known here (one of none, proxied)`},
		{"a shared store without a key", smallestFile + "store: postgres://u:pw@db/wall\n", `
1: session.key_file: missing (walls that share a store need the same key: openssl rand -base64 32)`},
		{"what is kept", smallestFile + "keep: {sessions: 0s, events: 1e6, denied: 0100}\n", `
8: keep.sessions: "0s" is too short (1s or more)
8: keep.events: "1e6" is not a number from 100 on (as in 100000)
8: keep.denied: "0100" is not a number from 100 on (as in 100000)`},
		{"a shared store nowhere", smallestFile + "store: 'postgres:///'\n", `
8: store: "postgres:///" names no server (as in postgres://user:password@host/database)`},
		{"credentials", strings.Replace(smallestFile, "client_secret: s3cr3t-of-google", "client_secret_file: credential:google", 1) + "session: {key_file: credential:../key}\n", `
5: google.client_secret_file: the value names a credential, but systemd gave this process none (LoadCredential= in the unit; in a shell CREDENTIALS_DIRECTORY=/run/credentials/loginwall.service)
8: session.key_file: the value is not the name of a credential (as in credential:google_client_secret)`},
		{"sockets", strings.Replace(smallestFile, "http://127.0.0.1:3000", "unix:/run/wall.sock", 1) + "listen: unix:/run//wall.sock\n", `
2: upstream: is the wall itself, by listen (name the address of the app)`},
		{"paths of sockets", smallestFile + "listen: unix:/run/wall/\n", `
8: listen: "unix:/run/wall/" is not a socket's path (write unix:/run/wall)`},
		{"a long path", smallestFile + "listen: unix:/run/" + strings.Repeat("x", 103) + "\n", `
8: listen: the value is too long for a socket's path (107 bytes at most, the folder included)`},
		{"repeated keys", smallestFile + "allow:\n  everyone: true\nadmins: []\nsession: {max_age: 1h, \"max_age\": 2h}\n", `
8: allow: repeated key (it stands in line 6 already; keep one)
11: session.max_age: repeated key (it stands in line 11 already; keep one)`},
		{"odd keys", smallestFile + "? [a, b]\n: c\nnull: d\n!!str contact: e\n<<: {contact: x}\n5: f\n\"a\\nb\": g\n", `
8: a key must be plain text
10: a key must be plain text
11: a key must be plain text
12: anchors, aliases and merge keys are not supported (write the value out)
13: unknown key (config.example.yaml has them all)
14: unknown key (config.example.yaml has them all)`},
		{"aliases", origin + provider + "allow: &a {domains: [example.com]}\nadmins: [&b bob@example.com, *b]\ndeny: *a\n&k contact: x\n", `
4: allow: anchors and aliases are not supported (write the value out; put quotes around a value that begins with & or *)
5: admins[0]: anchors and aliases are not supported (write the value out; put quotes around a value that begins with & or *)
5: admins[1]: anchors and aliases are not supported (write the value out; put quotes around a value that begins with & or *)
6: deny: anchors and aliases are not supported (write the value out; put quotes around a value that begins with & or *)
7: anchors, aliases and merge keys are not supported (write the value out)`},
		{"unknown alias", origin + provider + allow + "contact: *GOCSPX-s3cr3t\n", `
5: not valid YAML: an alias (*name) stands here (aliases are not supported; put quotes around a value that begins with *)`},
		{"tags", smallestFile + "contact: !!binary aGk=\nlog: !mine {level: info}\n", `
8: contact: tags are not supported (put quotes around a value that begins with !)
9: log: tags are not supported (put quotes around a value that begins with !)`},
		{"nulls", "public_url:\nupstream: ~\ngoogle:\n  client_id: null\n  client_secret:\nallow:\n  domains:\n  emails: [~]\nsession:\n", `
1: public_url: has no value (give one, or take the line out)
2: upstream: has no value (give one, or take the line out)
4: google.client_id: has no value (give one, or take the line out)
5: google.client_secret: has no value (give one, or take the line out)
7: allow.domains: has no value (give one, or take the line out)
8: allow.emails[0]: has no value (give one, or take the line out)
9: session: has no value (give one, or take the line out)`},
		{"shapes", "public_url: [https://tool.example.com]\nupstream: {http: x}\ngoogle: x\nallow: [example.com]\nadmins: bob@example.com\nroutes: {path: /}\nheaders: {set: [x], profiles: forwarded}\ndeny: {emails: [[x]]}\n", `
1: public_url: is a list where a single value belongs
2: upstream: is a set of keys where a single value belongs
3: google: is a single value where keys belong (such as client_id: …)
4: allow: is a list where keys belong (such as domains: …)
5: admins: is a single value where a list belongs (put it in brackets: [ … ])
6: routes: is a set of keys where a list belongs (begin each entry with a dash)
7: headers.set: is a list where names and values belong (write them as Name: value)
7: headers.profiles: is a single value where a list belongs (put it in brackets: [ … ])
8: deny.emails[0]: is a list where a single value belongs`},
		{"types", smallestFile + "pass_host: yes\nlog: {access: \"true\", level: warning, format: jsno, audit: syslog}\ncontact: true\nlisten: 8080\nlimits: {header_bytes: 32KB}\n", `
8: pass_host: "yes" is neither true nor false
9: log.access: is text where true or false belongs (write it without quotes)
9: log.level: "warning" is not known here (one of debug, info, warn, error)
9: log.format: "jsno" is not known here (did you mean json?)
9: log.audit: "syslog" is none of stderr, off and file:PATH (as in file:/var/log/loginwall/audit.log)
10: contact: is true or false where text belongs (put quotes around it if it is meant as text)
11: listen: "8080" is not host:port (write :8080)
12: limits.header_bytes: "32KB" is not a size (bytes, as in 65536, or with a unit, as in 64KiB or 1MiB)`},
		{"sizes", smallestFile + "limits: {header_bytes: 1024}\n", `
8: limits.header_bytes: "1024" is out of range (from 4KiB to 1MiB)`},
		{"octal size", smallestFile + "limits: {header_bytes: 032768}\n", `
8: limits.header_bytes: "032768" is not a size (bytes, as in 65536, or with a unit, as in 64KiB or 1MiB)`},
		{"durations", smallestFile + "session:\n  max_age: 7d\n  idle_timeout: 90\n  login_timeout: 999ms\n  max_feed_age: a while\ntimeouts: {drain: -1s, idle: 0s, connect: 0}\n", `
9: session.max_age: "7d" is not a duration (days are not a unit here: write 168h)
10: session.idle_timeout: "90" is not a duration (write 90s)
11: session.login_timeout: "999ms" is too short (1s or more)
12: session.max_feed_age: "a while" is not a duration (a number with a unit, as in 90s, 15m or 168h)
13: timeouts.drain: "-1s" is negative (a number with a unit, as in 90s, 15m or 168h)
13: timeouts.idle: "0s" would wait for ever (a number with a unit, as in 90s, 15m or 168h)
13: timeouts.connect: "0" would wait for ever (a number with a unit, as in 90s, 15m or 168h)`},
		{"addresses", smallestFile + "listen: '*:80'\nops_listen: http://localhost:9470\n", `
8: listen: "*:80" is not host:port (write :80)
9: ops_listen: "http://localhost:9470" is not host:port (as in :8080, or 127.0.0.1:8080 for this machine alone)`},
		{"more addresses", smallestFile + "listen: localhost\nops_listen: 127.0.0.1:http\n", `
8: listen: "localhost" is not host:port (write localhost:8080)
9: ops_listen: "127.0.0.1:http" is not host:port (as in :8080, or 127.0.0.1:8080 for this machine alone)`},
		{"one address for both", smallestFile + "listen: 127.0.0.1:9470\nops_listen: :9470\n", `
9: ops_listen: is the same address as listen (choose another port, or off)`},
		{"empty list", origin + provider + "allow: {domains: []}\n", `
4: allow: nobody is allowed (list domains, emails or groups; or write everyone: true, for every account of the provider)
4: allow.domains: the list is empty (add an entry, or take the line out)`},
		{"empty entry", origin + provider + "allow: {domains: ['']}\n", `
4: allow.domains[0]: is empty (give a value, or take the line out)`},
		{"one list empty", origin + provider + "allow: {domains: [], emails: [bob@example.com]}\n", `
4: allow.domains: the list is empty (add an entry, or take the line out)`},
		{"everyone is not", origin + provider + "allow: {everyone: false}\n", `
4: allow: nobody is allowed (list domains, emails or groups; or write everyone: true, for every account of the provider)`},
		{"domains", origin + provider + "allow:\n  domains:\n  - '*'\n  - '*.example.com'\n  - .example.com\n  - '@example.com'\n  - 'example.com '\n  - bob@example.com\n  - example.com.\n  - exämple.com\n  - 10.0.0.1\n  - https://example.com\n  - com\n  - {hosted_domain: example.com}\n  - {domain: a.com, hosted_domain: '*'}\n", `
6: allow.domains[0]: "*" is not a domain (to let in every account of the provider write everyone: true)
7: allow.domains[1]: "*.example.com" is not a domain: a domain never means those below it (write each of them, as in example.com, sub.example.com)
8: allow.domains[2]: ".example.com" is not a domain: a domain never means those below it (write each of them, as in example.com, sub.example.com)
9: allow.domains[3]: "@example.com" is not a domain (write example.com)
10: allow.domains[4]: "example.com " begins or ends with a blank (write example.com)
11: allow.domains[5]: "bob@example.com" is not a domain (a single address belongs under emails)
12: allow.domains[6]: "example.com." is not a domain (write example.com, without the dot at the end)
13: allow.domains[7]: "exämple.com" is not a domain (write a name in other scripts in its xn-- form)
14: allow.domains[8]: "10.0.0.1" is an address, not a domain (write it as example.com, without anything around it)
15: allow.domains[9]: "https://example.com" is not a domain (write it as example.com, without anything around it)
16: allow.domains[10]: "com" is not a domain (write it as example.com, without anything around it)
17: allow.domains[11]: domain is missing (as in {domain: brand.com, hosted_domain: example.com})
18: allow.domains[12].hosted_domain: "*" is not a domain (to let in every account of the provider write everyone: true)`},
		{"hosted domain of Gmail", origin + provider + "allow: {domains: [{domain: gmail.com, hosted_domain: example.com}]}\n", `
4: allow.domains[0]: these accounts have no hosted domain (take hosted_domain out)`},
		{"addresses of people", origin + provider + "allow: {emails: ['@example.com', '*@example.com', 'b*@example.com', bob, 'bob@example.com ', '<bob@example.com>']}\nadmins: [' ']\n", `
4: allow.emails[0]: "@example.com" is not an address (to let in the whole domain put example.com under domains)
4: allow.emails[1]: "*@example.com" is not an address (to let in the whole domain put example.com under domains)
4: allow.emails[2]: "b*@example.com" is not an e-mail address (write it as name@example.com, without anything around it)
4: allow.emails[3]: "bob" is not an e-mail address (write it as name@example.com, without anything around it)
4: allow.emails[4]: "bob@example.com " begins or ends with a blank (write bob@example.com)
4: allow.emails[5]: "<bob@example.com>" is not an e-mail address (write it as name@example.com, without anything around it)
5: admins[0]: " " is not an e-mail address (write it as name@example.com, without anything around it)`},
		{"groups with Google", origin + provider + "allow: {groups: [sre]}\nroutes: [{path: /x, allow: {groups: [sre]}}]\n", `
4: allow.groups: Google tells no groups (list domains or emails)
5: routes[0].allow.groups: Google tells no groups (list domains or emails)`},
		{"groups from nowhere", origin + strings.Replace(provider, "google: {", "oidc: {issuer: https://login.example.com, ", 1) + "allow: {groups: [sre, '*', ' ']}\n", `
4: allow.groups: oidc.groups_claim does not say where the provider tells groups (often groups_claim: groups)
4: allow.groups[1]: "*" is no group (name each group; allow.everyone: true lets in every account)
4: allow.groups[2]: " " begins or ends with a blank (write it without)`},
		{"two providers", origin + provider + "oidc: {issuer: login.example.com, scopes: [email, 'a b'], client_id: b}\nallow: {domains: [{domain: a.com, hosted_domain: b.com}]}\n", `
4: oidc.client_secret: missing (from the provider; or client_secret_file, the path of a file that holds it)
4: oidc: stands beside google (keep one of the two)
4: oidc.issuer: "login.example.com" is not an https URL (write https://login.example.com)
4: oidc.scopes[1]: "a b" is more than one scope (write a list, as in [openid, email])
5: allow.domains[0]: hosted_domain is only told by Google (take it out)`},
		{"no openid", origin + strings.Replace(provider, "google: {", "oidc: {issuer: https://login.example.com, scopes: [], ", 1) + allow, `
3: oidc.scopes: openid is not among them (without it nobody can sign in)`},
		{"issuers", origin + strings.Replace(provider, "google: {", "google: {issuer: http://accounts.example.com, ", 1) + allow, `
3: google.issuer: "http://accounts.example.com" is not https (http is only for a provider on this machine)`},
		{"discovery document", origin + strings.Replace(provider, "google: {", "google: {issuer: 'https://x.test/.well-known/openid-configuration', ", 1) + allow, `
3: google.issuer: "https://x.test/.well-known/openid-configuration" is the address of the discovery document, not the issuer (write https://x.test)`},
		{"routes", smallestFile + `routes:
  - path: admin
  - {path: '/a/*', methods: [get, '*'], access: publc}
  - {path: /_auth/x}
  - {path: /_AUTH}
  - {access: public, allow: {}}
  - {path: /x, upstream: none, allow: {domains: [], everyone: true}, methods: []}
  - {path: /../x}
  - {path: '/x?y'}
  - {path: '/%61'}
  - {path: //x}
  - /foo
`, `
9: routes[0].path: "admin" does not begin with a slash (as in /webhooks/)
10: routes[1].path: "/a/*" holds a star, which means nothing here (with a slash at the end it is everything below: /webhooks/)
10: routes[1].methods[0]: "get" is not a method: methods are in capitals (write GET)
10: routes[1].methods[1]: "*" is not a method (for all methods take the line methods out)
10: routes[1].access: "publc" is not known here (did you mean public?)
11: routes[2].path: "/_auth/x" is the wall's own (everything below /_auth/ is served by the wall and needs no rule)
12: routes[3].path: "/_AUTH" is the wall's own (everything below /_auth/ is served by the wall and needs no rule)
13: routes[4].path: missing (as in /webhooks/; with the slash at the end it is everything below)
13: routes[4].allow: decides nothing beside access: public (keep one of the two)
14: routes[5].upstream: none is for the wall as a whole (take the line out)
14: routes[5].allow.domains: the list is empty (add an entry, or take the line out)
14: routes[5].allow.everyone: unknown key (keys here: domains, emails, groups)
14: routes[5].methods: the list is empty (add an entry, or take the line out)
15: routes[6].path: "/../x" is not a plain path (ASCII letters, digits and dashes between single slashes; no % or ;, no dots at the end of a part)
16: routes[7].path: "/x?y" is more than a path (a rule cannot look at what is behind ? or #)
17: routes[8].path: "/%61" is not a plain path (ASCII letters, digits and dashes between single slashes; no % or ;, no dots at the end of a part)
18: routes[9].path: "//x" is not a plain path (ASCII letters, digits and dashes between single slashes; no % or ;, no dots at the end of a part)
19: routes[10]: is a single value where keys belong (such as path: …)`},
		{"headers", smallestFile + "headers: {profiles: ['a b'], set: {X-User: \"a\\nb\", x_user: c, X-Mail: , \"X:\\n\": d}}\ncontact: \"two\\nlines\"\n", `
8: headers.profiles[0]: "a b" is not a name (letters, digits and . _ : / -)
8: headers.set.X-User: "a\nb" holds a character that cannot be seen (one line of plain text)
8: headers.set.x_user: is the same header as X-User for many apps (keep one of the two)
8: headers.set.X-Mail: has no value (give one, or take the line out)
8: headers.set: here stands something that cannot be a header's name (as in X-User-Id)
9: contact: "two\nlines" holds a character that cannot be seen (one line of plain text)`},
		{"environment", strings.Replace(smallestFile, "s3cr3t-of-google", "${UNSET}", 1) + "contact: ${EMPTY}\nlisten: ${BLANK}\nstore: sqlite:${SECRET}\nadmins: ['$${SECRET}']\nsession: {max_age: '${SECRET}', idle_timeout: '${}'}\n", `
5: google.client_secret: the environment variable UNSET is not set (set it, or write the value here)
8: contact: the environment variable EMPTY is empty (set it, or write the value here)
9: listen: the environment variable BLANK is empty (set it, or write the value here)
10: store: holds ${ inside other text (a whole value may be ${NAME}, with letters, digits and _; a part of one may not)
11: admins[0]: holds ${ inside other text (a whole value may be ${NAME}, with letters, digits and _; a part of one may not)
12: session.max_age: "${SECRET}" is not a duration (a number with a unit, as in 90s, 15m or 168h)
12: session.idle_timeout: holds ${ inside other text (a whole value may be ${NAME}, with letters, digits and _; a part of one may not)`},
		{"one expansion", strings.Replace(smallestFile, "s3cr3t-of-google", "${NESTED}", 1), `
5: google.client_secret: the value is a placeholder (put in the secret that the provider shows for this client)`},
		{"secret twice", strings.Replace(smallestFile, "client_secret:", "client_secret_file: /dev/null\n  client_secret:", 1), `
5: google.client_secret_file: the file is not a regular one
6: google.client_secret: stands beside client_secret_file in line 5 (keep one of the two)`},
		{"store twice", smallestFile + "store: sqlite:a.db\nstore_file: b\n", `
9: store_file: stands beside store in line 8 (keep one of the two)`},
		{"stores", smallestFile + "store: loginwall.db\n", `
8: store: "loginwall.db" is not a store (write sqlite:loginwall.db)`},
		{"store in memory", smallestFile + "store: 'sqlite::memory:'\n", `
8: store: "sqlite::memory:" is not a file's path (as in sqlite:loginwall.db)`},
		{"store with options", smallestFile + "store: sqlite:a.db?mode=ro\n", `
8: store: "sqlite:a.db?mode=ro" has options, which are not supported (as in sqlite:loginwall.db)`},
		{"store with host", smallestFile + "store: sqlite:///var/a.db\n", `
8: store: "sqlite:///var/a.db" is not a store (write sqlite:/var/a.db)`},
		{"tab", smallestFile + "log:\n\tlevel: info\n", `
9: not valid YAML: found character that cannot start any token (there is a tab: indent with blanks)`},
		{"tab below comments", "# a\n\n# b\n\tpublic_url: x\n", `
4: not valid YAML: found character that cannot start any token (there is a tab: indent with blanks)`},
		{"open quote", smallestFile + "contact: 'Bob\nadmins: []\n", `
8: not valid YAML: found unexpected end of stream`},
		{"variable in a list", smallestFile + "admins: [${SECRET}]\n", `
8: not valid YAML: did not find expected ',' or ']' (inside [ ] and { } write "${NAME}" with quotes)`},
		{"colons in a list", smallestFile + "trusted_proxies: [::1]\n", `
8: not valid YAML: did not find expected node content (inside [ ] and { } write "::1" with quotes)`},
		{"bad indentation", smallestFile + "log:\n  level: info\n format: text\n", `
10: not valid YAML: did not find expected key`},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, _, err := load(t, row.text)
			if c != nil {
				t.Errorf("got %+v beside the error", c)
			}
			if diff := cmp.Diff(strings.TrimPrefix(row.want, "\n"), told(err)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRouteThatAllowsNobody(t *testing.T) {
	_, _, err := load(t, smallestFile+"routes:\n  - {path: /x, allow: {}}\n")
	if want := "9: routes[0].allow: nobody is allowed (list domains, emails or groups; or write access: nobody)"; told(err) != want {
		t.Errorf("got %s, want %s", told(err), want)
	}
}

// A file that is wrong everywhere, or that means to cost much, is refused in no time.
func TestHostileFiles(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'z'; c++ {
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+",", 8) + "]\n"
	}
	for name, text := range map[string]string{
		"aliases":  smallestFile + bomb,
		"unknown":  strings.Repeat("x: y\n", 1<<16),
		"wrong":    smallestFile + "admins: [" + strings.Repeat("x,", 1<<18) + "]\n",
		"depth":    "admins: " + strings.Repeat("[", 1<<16),
		"sections": strings.Repeat("{a: ", 9000) + strings.Repeat("}", 9000),
		"long key": strings.Repeat("k", 1<<18) + ": v\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := load(t, text)
			var problems config.Problems
			if !errors.As(err, &problems) || len(problems) > 100 || len(err.Error()) > 50_000 {
				t.Errorf("got %d problems in %d bytes", len(problems), len(err.Error()))
			}
		})
	}
}

// CFG-244.
func TestUpstreamProblems(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:3000":               `"127.0.0.1:3000" has no scheme (write http://127.0.0.1:3000)`,
		"localhost":                    `"localhost" has no scheme (write http://localhost)`,
		"ftp://app":                    `"ftp://app" is not an upstream (as in http://127.0.0.1:3000, https://…, h2c://…, unix:/run/app.sock, or none)`,
		"http://":                      `"http://" has no host`,
		"http://user:pw@app":           `the value holds a user name or a password (leave out what stands before the @)`,
		"user:pw@app":                  `the value is not an upstream (as in http://127.0.0.1:3000, https://…, h2c://…, unix:/run/app.sock, or none)`,
		"http://app/base":              `"http://app/base" is more than scheme, host and port (the app gets every path as it came; as in http://127.0.0.1:3000, https://…, h2c://…, unix:/run/app.sock, or none)`,
		"http://app//":                 `"http://app//" is more than scheme, host and port (the app gets every path as it came; as in http://127.0.0.1:3000, https://…, h2c://…, unix:/run/app.sock, or none)`,
		"http://app?x":                 `"http://app?x" is more than scheme, host and port (the app gets every path as it came; as in http://127.0.0.1:3000, https://…, h2c://…, unix:/run/app.sock, or none)`,
		"http://::1:3000":              `"http://::1:3000" has more than one colon behind its scheme (an IPv6 address needs brackets)`,
		"http://app:http":              `"http://app:http" has no valid port (a number from 1 to 65535 behind the host)`,
		"http://app:99999":             `"http://app:99999" has no valid port (a number from 1 to 65535 behind the host)`,
		"unix:":                        `"unix:" is not a socket's path (as in unix:/run/app.sock)`,
		"unix:///run/app.sock":         `"unix:///run/app.sock" is not a socket's path (write unix:/run/app.sock)`,
		"http://localhost:8080":        `is the wall itself, by listen (name the address of the app)`,
		"https://0.0.0.0:8080":         `is the wall itself, by listen (name the address of the app)`,
		"h2c://[::1]:8080":             `is the wall itself, by listen (name the address of the app)`,
		"http://localhost:9470":        `is the wall itself, by ops_listen (name the address of the app)`,
		"https://Tool.example.com/":    `is the wall itself, by public_url (name the address of the app)`,
		"https://tool.example.com:443": `is the wall itself, by public_url (name the address of the app)`,
	} {
		for key, file := range map[string]string{
			"2: upstream: ":           strings.Replace(smallestFile, "http://127.0.0.1:3000", "'"+text+"'", 1),
			"9: routes[0].upstream: ": smallestFile + "routes:\n  - {path: /x, upstream: '" + text + "'}\n",
		} {
			if _, _, err := load(t, file); told(err) != key+want {
				t.Errorf("%s:\n got %s\nwant %s", text, told(err), key+want)
			}
		}
	}
	for _, text := range []string{"http://192.0.2.1:8080", "http://tool.example.com:81", "http://localhost:8081", "http://app:8080"} {
		if _, _, err := load(t, strings.Replace(smallestFile, "http://127.0.0.1:3000", text, 1)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	// Port 0 is any port, so nothing can be said of it.
	if _, _, err := load(t, smallestFile+"listen: 127.0.0.1:0\nops_listen: 127.0.0.1:0\n"); err != nil {
		t.Error(err)
	}
}
