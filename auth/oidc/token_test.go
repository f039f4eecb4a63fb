package oidc_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/devidp"
	"github.com/loginwall/loginwall/auth/oidc"
)

// What the ID token must say, one wrong claim at a time.
func TestClaimsRefused(t *testing.T) {
	r := ready(t, setup{})
	now := time.Now
	ahead := func(d time.Duration) int64 { return now().Add(d).Unix() }
	type claims = func(map[string]any)
	for name, test := range map[string]struct {
		edit claims
		want oidc.Reason
	}{
		"TOK-068 iss of another":                {set("iss", "https://evil.test"), oidc.ReasonBadToken},
		"TOK-068 iss with a slash":              {set("iss", r.issuer+"/"), oidc.ReasonBadToken},
		"TOK-068 iss missing":                   {set("iss", nil), oidc.ReasonBadToken},
		"TOK-068 iss empty":                     {set("iss", ""), oidc.ReasonBadToken},
		"TOK-068 iss a list":                    {set("iss", []string{r.issuer}), oidc.ReasonBadToken},
		"TOK-068 iss in other letters":          {set("iss", strings.ToUpper(r.issuer)), oidc.ReasonBadToken},
		"TOK-068 iss under a folded name":       {func(m map[string]any) { m["ISS"] = m["iss"]; delete(m, "iss") }, oidc.ReasonBadToken},
		"TOK-102 iss bare google":               {set("iss", "accounts.google.com"), oidc.ReasonBadToken},
		"TOK-102 iss google":                    {set("iss", googleIssuer), oidc.ReasonBadToken},
		"TOK-069 sub missing":                   {set("sub", nil), oidc.ReasonBadToken},
		"TOK-069 sub empty":                     {set("sub", ""), oidc.ReasonBadToken},
		"TOK-069 sub a number":                  {set("sub", 7), oidc.ReasonBadToken},
		"TOK-069 sub a list":                    {set("sub", []string{"7"}), oidc.ReasonBadToken},
		"TOK-069 sub of 256":                    {set("sub", strings.Repeat("a", 256)), oidc.ReasonBadToken},
		"TOK-069 sub of 300":                    {set("sub", strings.Repeat("7", 300)), oidc.ReasonBadToken},
		"TOK-069 sub a blank":                   {set("sub", " "), oidc.ReasonBadToken},
		"TOK-069 sub with a blank":              {set("sub", "1 2"), oidc.ReasonBadToken},
		"TOK-069 sub with NUL":                  {set("sub", "1\x002"), oidc.ReasonBadToken},
		"TOK-069 sub with a line break":         {set("sub", "1\n"), oidc.ReasonBadToken},
		"TOK-069 sub beyond ASCII":              {set("sub", "１"), oidc.ReasonBadToken},
		"TOK-069 sub under a folded name":       {func(m map[string]any) { m["Sub"] = m["sub"]; delete(m, "sub") }, oidc.ReasonBadToken},
		"TOK-069 sub with a long s":             {func(m map[string]any) { m["ſub"] = m["sub"]; delete(m, "sub") }, oidc.ReasonBadToken},
		"TOK-070 aud missing":                   {set("aud", nil), oidc.ReasonBadToken},
		"TOK-070 aud of another":                {set("aud", "another"), oidc.ReasonBadToken},
		"TOK-070 aud a prefix":                  {set("aud", clientID[:4]), oidc.ReasonBadToken},
		"TOK-070 aud an extension":              {set("aud", clientID+"x"), oidc.ReasonBadToken},
		"TOK-070 aud others":                    {set("aud", []string{"a", "b"}), oidc.ReasonBadToken},
		"TOK-070 aud an empty list":             {set("aud", []string{}), oidc.ReasonBadToken},
		"TOK-070 aud null":                      {set("aud", json.RawMessage("null")), oidc.ReasonBadToken},
		"TOK-070 aud with a number":             {set("aud", []any{clientID, 7}), oidc.ReasonBadToken},
		"TOK-070 aud an object":                 {set("aud", map[string]string{clientID: clientID}), oidc.ReasonBadToken},
		"TOK-071 two audiences, no azp":         {func(m map[string]any) { m["aud"] = []string{clientID, "b"}; delete(m, "azp") }, oidc.ReasonBadToken},
		"TOK-071 two audiences, another's azp":  {func(m map[string]any) { m["aud"] = []string{clientID, "b"}; m["azp"] = "b" }, oidc.ReasonBadToken},
		"TOK-071 another's azp":                 {set("azp", "b"), oidc.ReasonBadToken},
		"TOK-071 azp empty":                     {set("azp", ""), oidc.ReasonBadToken},
		"TOK-071 azp a list":                    {set("azp", []string{clientID}), oidc.ReasonBadToken},
		"TOK-072 iat missing":                   {set("iat", nil), oidc.ReasonBadToken},
		"TOK-072 iat a word":                    {set("iat", "now"), oidc.ReasonBadToken},
		"TOK-072 iat true":                      {set("iat", true), oidc.ReasonBadToken},
		"TOK-072 iat 6 min from now":            {func(m map[string]any) { m["iat"] = ahead(6 * time.Minute) }, oidc.ReasonClock},
		"TOK-072 iat 61 min ago":                {func(m map[string]any) { m["iat"] = ahead(-61 * time.Minute) }, oidc.ReasonClock},
		"TOK-072 iat 11 min ago":                {func(m map[string]any) { m["iat"] = ahead(-11 * time.Minute) }, oidc.ReasonClock},
		"TOK-072 iat 0":                         {set("iat", 0), oidc.ReasonClock},
		"TOK-082 nonce missing":                 {set("nonce", nil), oidc.ReasonNonce},
		"TOK-082 nonce empty":                   {set("nonce", ""), oidc.ReasonNonce},
		"TOK-082 nonce of another":              {set("nonce", "another"), oidc.ReasonNonce},
		"TOK-082 nonce a list":                  {func(m map[string]any) { m["nonce"] = []any{m["nonce"]} }, oidc.ReasonNonce},
		"TOK-082 nonce longer":                  {func(m map[string]any) { m["nonce"] = m["nonce"].(string) + "x" }, oidc.ReasonNonce},
		"TOK-082 nonce under a folded name":     {func(m map[string]any) { m["NONCE"] = m["nonce"]; delete(m, "nonce") }, oidc.ReasonNonce},
		"TOK-090 at_hash of another token":      {set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), oidc.ReasonBadToken},
		"TOK-090 at_hash empty":                 {set("at_hash", ""), oidc.ReasonBadToken},
		"TOK-090 at_hash null":                  {set("at_hash", json.RawMessage("null")), oidc.ReasonBadToken},
		"TOK-097 exp missing":                   {set("exp", nil), oidc.ReasonBadToken},
		"TOK-097 exp past by 1 s":               {func(m map[string]any) { m["exp"] = ahead(-time.Second) }, oidc.ReasonClock},
		"TOK-097 exp past, in quotes":           {func(m map[string]any) { m["exp"] = "1" }, oidc.ReasonClock},
		"TOK-097 exp 0":                         {set("exp", 0), oidc.ReasonClock},
		"TOK-097 exp negative":                  {set("exp", -1), oidc.ReasonBadToken},
		"TOK-097 exp 1e300":                     {set("exp", 1e300), oidc.ReasonBadToken},
		"TOK-097 exp 1e400":                     {set("exp", json.RawMessage("1e400")), oidc.ReasonBadToken},
		"TOK-097 exp a word":                    {set("exp", "never"), oidc.ReasonBadToken},
		"TOK-097 exp infinite":                  {set("exp", "Infinity"), oidc.ReasonBadToken},
		"TOK-097 exp hexadecimal":               {set("exp", "0xffffffff"), oidc.ReasonBadToken},
		"TOK-097 exp null":                      {set("exp", json.RawMessage("null")), oidc.ReasonBadToken},
		"TOK-097 exp a list":                    {func(m map[string]any) { m["exp"] = []any{m["exp"]} }, oidc.ReasonBadToken},
		"TOK-098 nbf +10 min":                   {func(m map[string]any) { m["nbf"] = ahead(10 * time.Minute) }, oidc.ReasonClock},
		"TOK-098 nbf a word":                    {set("nbf", "x"), oidc.ReasonBadToken},
		"TOK-093 a claim name without a source": {set("_claim_names", map[string]string{"email": "nowhere"}), oidc.ReasonBadToken},
		"TOK-100 more than 64 KiB":              {set("x", strings.Repeat("x", 64<<10)), oidc.ReasonBadToken},
		"go-oidc refuses what we do not see":    {set("iſs", "https://evil.test"), oidc.ReasonBadToken},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			r.idp.Misbehave(devidp.Fault{Claims: test.edit})
			r.refused(test.want)
		})
	}
}

// Whatever else a token says, none of this may keep people out.
func TestClaimsAccepted(t *testing.T) {
	r := ready(t, setup{})
	ahead := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for name, edit := range map[string]func(map[string]any){
		"TOK-070 aud a list":             set("aud", []string{clientID}),
		"TOK-071 two audiences, our azp": set("aud", []string{"b", clientID}),
		"TOK-071 no azp":                 set("azp", nil),
		"TOK-072 iat 4 min from now":     func(m map[string]any) { m["iat"] = ahead(4 * time.Minute) },
		"TOK-072 iat 4 min ago":          func(m map[string]any) { m["iat"] = ahead(-4 * time.Minute) },
		"TOK-090 no at_hash":             set("at_hash", nil),
		"TOK-097 exp with a fraction":    func(m map[string]any) { m["exp"] = float64(ahead(time.Hour)) + .5 },
		"TOK-097 exp in quotes": func(m map[string]any) {
			m["exp"] = time.Now().Add(time.Hour).Format("20060102150405")[:0] + "9999999999"
		},
		"TOK-097 exp soon":      func(m map[string]any) { m["exp"] = ahead(5 * time.Second) },
		"TOK-098 nbf +4 min":    func(m map[string]any) { m["nbf"] = ahead(4 * time.Minute) },
		"TOK-091 c_hash":        set("c_hash", "wrong"),
		"sub of 255":            set("sub", strings.Repeat("a", 255)),
		"unknown claims":        set("x", map[string]any{"y": []int{1}}),
		"folded e-mail besides": set("EMAIL", "mallory@evil.test"),
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			r.idp.Misbehave(devidp.Fault{Claims: edit})
			if id := r.mustLogin("alice@example.com"); id.Email != "alice@example.com" || !id.EmailVerified {
				t.Errorf("got %+v", id)
			}
		})
	}
}

// TOK-083: the claims that decide by what they say, and those that people look at.
func TestIdentity(t *testing.T) {
	alice := auth.Identity{Subject: "100000000000000000001", Email: "alice@example.com", EmailVerified: true, HostedDomain: "example.com", Name: "Alice Archer"}
	with := func(edit func(*auth.Identity)) auth.Identity { id := alice; edit(&id); return id }
	unverified := with(func(id *auth.Identity) { id.EmailVerified = false })
	noEmail := with(func(id *auth.Identity) { id.Email, id.EmailVerified = "", false })
	noDomain := with(func(id *auth.Identity) { id.HostedDomain = "invalid" })
	unnamed := with(func(id *auth.Identity) { id.Name = "" })
	many := make([]string, 2000)
	for i := range many {
		many[i] = "g"
	}
	generic := func(c *oidc.Config) { c.Google = false; c.GroupsClaim = "groups" }
	trusting := func(c *oidc.Config) { c.Google = false; c.TrustEmail = true }
	foreign := with(func(id *auth.Identity) { id.HostedDomain = "" })

	r := newRig(t, setup{})
	for name, test := range map[string]struct {
		config func(*oidc.Config)
		edit   func(map[string]any)
		want   auth.Identity
	}{
		"TOK-083 no email":                 {nil, func(m map[string]any) { delete(m, "email"); delete(m, "email_verified") }, noEmail},
		"email null":                       {nil, set("email", json.RawMessage("null")), noEmail},
		"email a list":                     {nil, set("email", []string{"alice@example.com"}), noEmail},
		"email with two @":                 {nil, set("email", "alice@example.com@evil.test"), noEmail},
		"email with a comma":               {nil, set("email", "alice@example.com,b@evil.test"), noEmail},
		"email with a line break":          {nil, set("email", "alice@example.com\r\nX: y"), noEmail},
		"email in other letters":           {nil, set("email", "Alice@EXAMPLE.com"), alice},
		"email under a folded name only":   {nil, func(m map[string]any) { m["Email"] = m["email"]; delete(m, "email") }, noEmail},
		"verified false":                   {nil, set("email_verified", false), unverified},
		"verified missing":                 {nil, set("email_verified", nil), unverified},
		"verified in quotes":               {nil, set("email_verified", "true"), alice},
		"verified in capitals":             {nil, set("email_verified", "True"), unverified},
		"verified 1":                       {nil, set("email_verified", 1), unverified},
		"verified null":                    {nil, set("email_verified", json.RawMessage("null")), unverified},
		"verified a list":                  {nil, set("email_verified", []bool{true}), unverified},
		"verified folded":                  {nil, func(m map[string]any) { m["email_verified"] = false; m["Email_Verified"] = true }, unverified},
		"google trusts nothing":            {func(c *oidc.Config) { c.TrustEmail = true; c.GroupsClaim = "aud" }, set("email_verified", nil), unverified},
		"trusting, absent":                 {trusting, set("email_verified", nil), foreign},
		"trusting, false":                  {trusting, set("email_verified", false), with(func(id *auth.Identity) { id.EmailVerified = false; id.HostedDomain = "" })},
		"trusting, null":                   {trusting, set("email_verified", json.RawMessage("null")), with(func(id *auth.Identity) { id.EmailVerified = false; id.HostedDomain = "" })},
		"hd missing":                       {nil, set("hd", nil), foreign},
		"hd in other letters":              {nil, set("hd", "Example.COM"), alice},
		"hd empty":                         {nil, set("hd", ""), noDomain},
		"hd null":                          {nil, set("hd", json.RawMessage("null")), noDomain},
		"hd a list":                        {nil, set("hd", []string{"example.com"}), noDomain},
		"hd with a dot":                    {nil, set("hd", "example.com."), noDomain},
		"hd with NUL":                      {nil, set("hd", "example.com\x00"), noDomain},
		"hd folded":                        {nil, func(m map[string]any) { m["HD"] = "evil.test" }, alice},
		"name with control characters":     {nil, set("name", " A\r\nl\x1b[1mi\u202ece\u2028\x00 "), with(func(id *auth.Identity) { id.Name = "Al[1mice" })},
		"name in another script":           {nil, set("name", "Zoë 李"), with(func(id *auth.Identity) { id.Name = "Zoë 李" })},
		"name too long":                    {nil, set("name", strings.Repeat("ä", 500)), with(func(id *auth.Identity) { id.Name = strings.Repeat("ä", 256) })},
		"name a number":                    {nil, set("name", 7), unnamed},
		"RED-065 picture":                  {nil, set("picture", "https://lh3.test/a=s96-c"), with(func(id *auth.Identity) { id.Picture = "https://lh3.test/a=s96-c" })},
		"RED-065 picture javascript":       {nil, set("picture", "javascript:alert(1)"), alice},
		"RED-065 picture data":             {nil, set("picture", "data:text/html,x"), alice},
		"RED-065 picture http":             {nil, set("picture", "http://lh3.test/a"), alice},
		"RED-065 picture with quotes":      {nil, set("picture", "https://lh3.test/\"><script>"), with(func(id *auth.Identity) { id.Picture = "https://lh3.test/%22%3E%3Cscript%3E" })},
		"RED-065 picture with a user":      {nil, set("picture", "https://a@lh3.test/"), alice},
		"RED-065 picture with a backslash": {nil, set("picture", "https://lh3.test\\@evil.test/"), alice},
		"RED-065 picture too long":         {nil, set("picture", "https://lh3.test/"+strings.Repeat("a", 1024)), alice},
		"RED-065 picture relative":         {nil, set("picture", "//evil.test/a"), alice},
		"generic has no hd":                {generic, func(map[string]any) {}, foreign},
		"groups":                           {generic, set("groups", []string{"b", "a"}), with(func(id *auth.Identity) { id.HostedDomain = ""; id.Groups = []string{"b", "a"} })},
		"groups, one":                      {generic, set("groups", "b"), with(func(id *auth.Identity) { id.HostedDomain = ""; id.Groups = []string{"b"} })},
		"groups, none":                     {generic, set("groups", []string{}), with(func(id *auth.Identity) { id.HostedDomain = ""; id.Groups = []string{} })},
		"groups, odd":                      {generic, set("groups", []string{"", "a\nb", strings.Repeat("x", 257), "ok"}), with(func(id *auth.Identity) { id.HostedDomain = ""; id.Groups = []string{"ok"} })},
		"groups, not texts":                {generic, set("groups", []any{"a", 7}), foreign},
		"groups, an object":                {generic, set("groups", map[string]any{"a": 1}), foreign},
		"groups, too many":                 {generic, set("groups", many), with(func(id *auth.Identity) { id.HostedDomain = ""; id.Groups = many[:1000] })},
	} {
		t.Run(name, func(t *testing.T) {
			config := r.config
			if test.config != nil {
				test.config(&r.config)
			}
			r.renew(t)
			r.config = config
			r.idp.Misbehave(devidp.Fault{Claims: test.edit, Discovery: set("userinfo_endpoint", nil)})
			if err := r.rp.Discover(t.Context()); err != nil {
				t.Fatal(err)
			}
			test.want.Issuer = r.issuer
			if diff := cmp.Diff(test.want, r.mustLogin("alice@example.com")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Names that stand there twice, and bytes that two parsers read differently.
func TestPayloads(t *testing.T) {
	r := ready(t, setup{})
	_, private := r.idp.SigningKey()
	resign := func(change func(payload string) string) devidp.Fault {
		return devidp.Fault{Reply: func(m map[string]any) {
			parts := strings.Split(m["id_token"].(string), ".")
			payload, err := base64.RawURLEncoding.DecodeString(parts[1])
			if err != nil {
				t.Error(err)
			}
			input := parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(change(string(payload))))
			m["id_token"] = input + "." + base64.RawURLEncoding.EncodeToString(rs256(t, private, input))
		}}
	}
	r.idp.Misbehave(resign(func(p string) string { return " " + p + "\n" }))
	r.mustLogin("alice@example.com") // so the method itself is right
	for name, change := range map[string]func(string) string{
		"sub twice":           func(p string) string { return `{"sub":"1",` + p[1:] },
		"email twice":         func(p string) string { return `{"email":"mallory@evil.test",` + p[1:] },
		"twice by an escape":  func(p string) string { return `{"s\u0075b":"1",` + p[1:] },
		"another object":      func(p string) string { return p + p },
		"something behind it": func(p string) string { return p + "x" },
		"a list":              func(p string) string { return "[" + p + "]" },
		"null":                func(string) string { return "null" },
		"nothing":             func(string) string { return "" },
		"cut":                 func(p string) string { return p[:len(p)-2] },
		"not UTF-8":           func(p string) string { return `{"x":"` + "\xff" + `",` + p[1:] },
	} {
		r.idp.Misbehave(resign(change))
		t.Log(name, r.refused(oidc.ReasonBadToken))
	}
}

func rs256(t *testing.T, private *rsa.PrivateKey, input string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(nil, private, crypto.SHA256, sum[:])
	if err != nil {
		t.Error(err)
	}
	return signature
}

// TOK-076, TOK-077, TOK-078, TOK-079, TOK-100: every way to sign that is not ours, with keys that are published where there
// can be one.
func TestSignatures(t *testing.T) {
	r := newRig(t, setup{})
	kid, private := r.idp.SigningKey()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	keys := func(m map[string]any) {
		point, _ := ec.PublicKey.Bytes()
		m["keys"] = append(m["keys"].([]any),
			map[string]any{"kty": "EC", "crv": "P-256", "kid": "ec", "x": b64(point[1:33]), "y": b64(point[33:])},
			map[string]any{"kty": "RSA", "kid": "any", "n": b64(private.N.Bytes()), "e": "AQAB"},
			map[string]any{"kty": "RSA", "kid": "enc", "use": "enc", "n": b64(private.N.Bytes()), "e": "AQAB"},
			map[string]any{"kty": "RSA", "kid": "rs512", "alg": "RS512", "n": b64(private.N.Bytes()), "e": "AQAB"},
			map[string]any{"kty": "RSA", "kid": "weak", "n": b64(weak.N.Bytes()), "e": "AQAB"},
			map[string]any{"kty": "oct", "kid": "oct", "k": b64([]byte(clientSecret))},
		)
	}
	discovery := set("id_token_signing_alg_values_supported", []string{"none", "HS256", "RS256", "ES256", "PS256", "RS512"})
	r.idp.Misbehave(devidp.Fault{Discovery: discovery, Keys: keys})
	if err := r.rp.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	mac := func(key []byte) func([]byte) []byte {
		return func(input []byte) []byte {
			h := hmac.New(sha256.New, key)
			h.Write(input)
			return h.Sum(nil)
		}
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	with := func(private *rsa.PrivateKey, hash crypto.Hash, pss bool) func([]byte) []byte {
		return func(input []byte) []byte {
			sum := sha256.Sum256(input)
			digest := sum[:]
			if hash == crypto.SHA512 {
				long := sha512.Sum512(input)
				digest = long[:]
			}
			var options crypto.SignerOpts = hash
			if pss {
				options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
			}
			signature, err := private.Sign(rand.Reader, digest, options)
			if err != nil {
				t.Error(err)
			}
			return signature
		}
	}
	es256 := func(input []byte) []byte {
		sum := sha256.Sum256(input)
		a, b, err := ecdsa.Sign(rand.Reader, ec, sum[:])
		if err != nil {
			t.Error(err)
		}
		return append(a.FillBytes(make([]byte, 32)), b.FillBytes(make([]byte, 32))...)
	}
	head := func(pairs ...any) func(map[string]any) {
		return func(m map[string]any) {
			for i := 0; i < len(pairs); i += 2 {
				set(pairs[i].(string), pairs[i+1])(m)
			}
		}
	}
	nothing := func([]byte) []byte { return nil }

	for name, f := range map[string]devidp.Fault{
		"TOK-075 kid of a key for anything": {Header: head("kid", "any")},
		"TOK-073 no typ":                    {Header: head("typ", nil)},
		"TOK-074 no kid":                    {Header: head("kid", nil)},
		"typ in small letters":              {Header: head("typ", "jwt")},
		"x5t is only a name":                {Header: head("x5t", "AAAA")},
	} {
		f.Keys = keys
		r.idp.Misbehave(f)
		if _, err := r.login("alice@example.com"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, f := range map[string]devidp.Fault{
		"TOK-076 none":                  {Header: head("alg", "none"), Sign: nothing},
		"TOK-076 None":                  {Header: head("alg", "None"), Sign: nothing},
		"TOK-076 none, no kid":          {Header: head("alg", "none", "kid", nil), Sign: nothing},
		"TOK-076 none, but signed":      {Header: head("alg", "none")},
		"TOK-076 empty signature":       {Sign: nothing},
		"TOK-076 alg missing":           {Header: head("alg", nil)},
		"TOK-076 alg null":              {Header: head("alg", json.RawMessage("null"))},
		"TOK-076 alg in other letters":  {Header: head("alg", "rs256")},
		"TOK-077 another key, same kid": {Sign: with(stranger, crypto.SHA256, false)},
		"TOK-077 another key, no kid":   {Header: head("kid", nil), Sign: with(stranger, crypto.SHA256, false)},
		"TOK-077 another kid":           {Header: head("kid", "stranger"), Sign: with(stranger, crypto.SHA256, false)},
		"TOK-077 weak key":              {Header: head("kid", "weak"), Sign: with(weak, crypto.SHA256, false)},
		"TOK-077 right key, for enc":    {Header: head("kid", "enc")},
		"TOK-077 right key, for RS512":  {Header: head("kid", "rs512")},
		"TOK-078 HS256, secret":         {Header: head("alg", "HS256"), Sign: mac([]byte(clientSecret))},
		"TOK-078 HS256, oct key":        {Header: head("alg", "HS256", "kid", "oct"), Sign: mac([]byte(clientSecret))},
		"TOK-078 HS256, public DER":     {Header: head("alg", "HS256"), Sign: mac(der)},
		"TOK-078 HS256, public PEM":     {Header: head("alg", "HS256"), Sign: mac(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))},
		"TOK-078 RS256 by name only":    {Sign: mac(der)},
		"TOK-079 ES256":                 {Header: head("alg", "ES256", "kid", "ec"), Sign: es256},
		"TOK-079 ES256 as RS256":        {Header: head("kid", "ec"), Sign: es256},
		"TOK-079 PS256":                 {Header: head("alg", "PS256"), Sign: with(private, crypto.SHA256, true)},
		"TOK-079 PS256 as RS256":        {Sign: with(private, crypto.SHA256, true)},
		"TOK-079 RS512":                 {Header: head("alg", "RS512", "kid", "rs512"), Sign: with(private, crypto.SHA512, false)},
		"TOK-100 jku":                   {Header: head("jku", "https://evil.test/keys")},
		"TOK-100 x5u":                   {Header: head("x5u", "https://evil.test/cert")},
		"TOK-100 jwk":                   {Header: head("jwk", map[string]any{"kty": "RSA", "n": b64(stranger.N.Bytes()), "e": "AQAB"}), Sign: with(stranger, crypto.SHA256, false)},
		"TOK-100 jwk of the right key":  {Header: head("jwk", map[string]any{"kty": "RSA", "n": b64(private.N.Bytes()), "e": "AQAB"})},
		"TOK-100 crit":                  {Header: head("crit", []string{"exp"})},
		"TOK-100 crit, empty":           {Header: head("crit", []string{})},
		"TOK-100 b64":                   {Header: head("b64", false)},
		"TOK-100 zip":                   {Header: head("zip", "DEF")},
		"TOK-100 enc":                   {Header: head("enc", "A128GCM")},
		"TOK-100 kid a path":            {Header: head("kid", "../../../../dev/null"), Sign: mac(nil)},
		"TOK-100 kid a query":           {Header: head("kid", "' OR 1=1 --")},
		"TOK-100 kid a list":            {Header: head("kid", []string{kid})},
		"TOK-100 typ logout+jwt":        {Header: head("typ", "logout+jwt")},
		"TOK-100 typ at+jwt":            {Header: head("typ", "at+jwt")},
		"TOK-100 typ application/…":     {Header: head("typ", "application/at+jwt")},
		"TOK-100 typ a number":          {Header: head("typ", 7)},
		"TOK-100 a folded alg besides":  {Header: head("ALG", "none"), Sign: nothing},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			f.Keys = keys
			r.idp.Misbehave(f)
			r.refused(oidc.ReasonBadToken)
		})
	}
	for _, address := range r.dialled {
		if address != "accounts.test:443" {
			t.Errorf("connected to %s", address)
		}
	}
}

// TOK-100: things in the token reply that are no compact JWS.
func TestTokenShapes(t *testing.T) {
	r := ready(t, setup{})
	for name, change := range map[string]func(string) string{
		"JWE":       func(s string) string { return s + ".AAAA.AAAA" },
		"two parts": func(s string) string { return s[:strings.LastIndex(s, ".")] },
		"no parts":  func(string) string { return "x" },
		"only dots": func(string) string { return ".." },
		"JSON serialization": func(s string) string {
			p := strings.Split(s, ".")
			return `{"protected":"` + p[0] + `","payload":"` + p[1] + `","signature":"` + p[2] + `"}`
		},
		"too long":             func(s string) string { return s + strings.Repeat("A", 64<<10) },
		"padded header":        func(s string) string { h, rest, _ := strings.Cut(s, "."); return h + "==." + rest },
		"blank before":         func(s string) string { return " " + s },
		"line break inside":    func(s string) string { return s[:10] + "\n" + s[10:] },
		"header not an object": func(s string) string { _, rest, _ := strings.Cut(s, "."); return "bnVsbA." + rest },
		"flipped signature": func(s string) string {
			i := strings.LastIndex(s, ".") + 5
			c := byte('A')
			if s[i] == c {
				c = 'B'
			}
			return s[:i] + string(c) + s[i+1:]
		},
	} {
		r.idp.Misbehave(devidp.Fault{Reply: func(m map[string]any) { m["id_token"] = change(m["id_token"].(string)) }})
		t.Log(name, r.refused(oidc.ReasonBadToken))
	}
}

// TOK-102: Google's two spellings of its issuer come out as one.
func TestGoogleIssuer(t *testing.T) {
	r := ready(t, setup{issuer: googleIssuer})
	want := r.mustLogin("alice@example.com")
	if want.Issuer != googleIssuer {
		t.Errorf("issuer %q", want.Issuer)
	}
	r.idp.Misbehave(devidp.Fault{Claims: set("iss", "accounts.google.com")})
	if diff := cmp.Diff(want, r.mustLogin("alice@example.com")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.idp.Misbehave(devidp.Fault{Claims: set("iss", "http://accounts.google.com")})
	r.refused(oidc.ReasonBadToken)
}

// A provider without RS256 is taken at its word, and pinned to the other.
func TestOtherAlgorithm(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, _ := ec.PublicKey.Bytes()
	b64 := base64.RawURLEncoding.EncodeToString
	f := devidp.Fault{
		Discovery: set("id_token_signing_alg_values_supported", []string{"HS256", "ES256"}),
		Keys: func(m map[string]any) {
			m["keys"] = append(m["keys"].([]any), map[string]any{"kty": "EC", "crv": "P-256", "kid": "ec", "x": b64(point[1:33]), "y": b64(point[33:])})
		},
		Header: func(m map[string]any) { m["alg"], m["kid"] = "ES256", "ec" },
		Sign: func(input []byte) []byte {
			sum := sha256.Sum256(input)
			a, b, err := ecdsa.Sign(rand.Reader, ec, sum[:])
			if err != nil {
				t.Error(err)
			}
			return append(a.FillBytes(make([]byte, 32)), b.FillBytes(make([]byte, 32))...)
		},
	}
	r := newRig(t, setup{config: func(c *oidc.Config) { c.Google = false }})
	r.idp.Misbehave(f)
	if err := r.rp.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.mustLogin("alice@example.com")
	r.idp.Misbehave(devidp.Fault{Discovery: f.Discovery, Keys: f.Keys})
	r.refused(oidc.ReasonBadToken) // RS256, with a published key

	google := newRig(t, setup{}) // Google signs with RS256, whatever its metadata says
	google.idp.Misbehave(f)
	if err := google.rp.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	google.refused(oidc.ReasonBadToken)
}

// EdDSA is hashed with SHA-512, so at_hash is another half.
func TestEdDSA(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	hash := sha512.Sum512([]byte("the access token"))
	r := newRig(t, setup{config: func(c *oidc.Config) { c.Google = false }})
	f := devidp.Fault{
		Discovery: set("id_token_signing_alg_values_supported", []string{"EdDSA"}),
		Keys:      set("keys", []any{map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(public)}}),
		Header:    func(m map[string]any) { m["alg"], m["kid"] = "EdDSA", "ed" },
		Sign:      func(input []byte) []byte { return ed25519.Sign(private, input) },
		Claims:    set("at_hash", b64(hash[:32])),
		Reply:     set("access_token", "the access token"),
	}
	r.idp.Misbehave(f)
	if err := r.rp.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.mustLogin("alice@example.com")
	f.Reply = set("access_token", "another")
	r.idp.Misbehave(f)
	r.refused(oidc.ReasonBadToken)
}

// IDP-221.
func TestClock(t *testing.T) {
	r := ready(t, setup{})
	for _, skew := range []time.Duration{-4 * time.Minute, 4 * time.Minute} {
		r.skew.Store(int64(skew))
		r.mustLogin("alice@example.com")
	}
	for skew, says := range map[time.Duration]string{
		-15 * time.Minute: "behind the provider's",
		15 * time.Minute:  "ahead of the provider's",
		25 * time.Hour:    "ahead of the provider's",
	} {
		r.skew.Store(int64(skew))
		if err := r.refused(oidc.ReasonClock); !strings.Contains(err.Error(), says) {
			t.Errorf("skew %s: %v", skew, err)
		}
		if off := r.rp.ClockOffset() + skew; off.Abs() > 2*time.Second { // the Date header has whole seconds
			t.Errorf("skew %s: offset %s", skew, r.rp.ClockOffset())
		}
	}
	r.skew.Store(0)
	r.idp.Misbehave(devidp.Fault{Claims: func(m map[string]any) { m["exp"] = time.Now().Add(-time.Minute).Unix() }})
	if err := r.refused(oidc.ReasonClock); !strings.Contains(err.Error(), "our clock agrees") {
		t.Errorf("got %v", err)
	}
}
