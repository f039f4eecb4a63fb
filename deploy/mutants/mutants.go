package main

// mutants are the defences without which a P0 case would not hold, area by area.
func mutants() []mutant {
	const (
		oidc        = "./auth/oidc/"
		policy      = "./auth/policy/"
		session     = "./auth/session/"
		whole       = "./cmd/loginwall/"
		proxy       = "./proxy/"
		store       = "./auth/store/"
		direct      = "./proxy/direct/"
		observe     = "./proxy/observe/"
		pictures    = "./auth/picture/"
		idToken     = "auth/oidc/idtoken.go"
		tokens      = "TestAttackTokens"
		callbacks   = "TestAttackCallback"
		directory   = "TestScripts/directory$"
		differences = "TestDifferences"
	)
	return []mutant{
		// The ID token.
		{"TOK-068", "the issuer is not compared", idToken, "if !sameIssuer(p.config.Issuer, issuer) {", "if false {", oidc, "TestClaimsRefused|FuzzClaims"},
		{"TOK-069", "any subject will do", idToken, "if !plainSubject(subject) {", "if false {", whole, tokens},
		{"TOK-070", "the audience need not be us", idToken, "if !slices.Contains(audience, p.config.ClientID) {", "if false && !slices.Contains(audience, p.config.ClientID) {", oidc, "TestClaimsRefused|FuzzClaims"},
		{"TOK-071", "another party's azp", idToken, "if party != p.config.ClientID {", "if false {", whole, tokens},
		{"TOK-072", "old tokens", idToken, "case issued.Before(now.Add(-maxTokenAge)):", "case false:", whole, tokens},
		{"TOK-076", "no pinned algorithm in the header", idToken, "if alg != algorithm {", "if false {", oidc, "TestSignatures|FuzzHeader"},
		{"TOK-077", "the signature is not verified", "auth/oidc/keys.go", "if payload, err := jws.Verify(h.keys[i].Key); err == nil {", "if payload := jws.UnsafePayloadWithoutVerification(); payload != nil {", whole, tokens},
		{"TOK-082", "the nonce is not compared", idToken, `got, err := claims.text("nonce"); err != nil || !equal(got, nonce)`, `_, err := claims.text("nonce"); err != nil && nonce == ""`, whole, tokens},
		{"TOK-090", "at_hash is not compared", idToken, `err != nil || !equal(got, atHash)`, `err != nil || got == "" && atHash == ""`, whole, tokens},
		{"TOK-097", "expired tokens", idToken, "case !expires.After(now):", "case false:", oidc, "TestClaimsRefused|FuzzClaims"},
		{"TOK-100", "headers that name keys", idToken, "if _, present := header[name]; present {", "if false {", whole, tokens},
		{"TOK-104", "no bound on fetching keys", "auth/oidc/keys.go", "if len(k.idle) >= maxFetches {", "if false {", whole, tokens},
		{"TOK-086", "discovery of another issuer", "auth/oidc/discovery.go", "if issuer != c.Issuer {", "if false {", oidc, "TestDiscoveryDocuments"},
		{"TOK-067", "the way to authenticate is probed", "auth/oidc/discovery.go", "return oauth2.AuthStyleInParams, nil\n\tcase basic:", "return oauth2.AuthStyleAutoDetect, nil\n\tcase basic:", oidc, "TestTokenRequest"},
		{"IDP-216", "bodies without end", "auth/oidc/client.go", "resp.Body = &bounded{ReadCloser: resp.Body, left: maxBody}", "resp.Body = &bounded{ReadCloser: resp.Body, left: 1 << 40}", oidc, "TestFlood"},
		{"IDP-214", "calls without end", "auth/oidc/client.go", "callTimeout = 9 * time.Second", "callTimeout = 90 * time.Second", oidc, "TestHanging"},
		{"IDP-218", "old TLS", "auth/oidc/client.go", "MinVersion: tls.VersionTLS12", "MinVersion: tls.VersionTLS10", oidc, "TestCertificates"},
		{"IDP-218", "any certificate", "auth/oidc/client.go", "tls.VersionTLS12, RootCAs: c.RootCAs", "tls.VersionTLS12, InsecureSkipVerify: true", oidc, "TestCertificates"},

		// The callback.
		{"STA-107", "any state matches", "auth/login/attempt.go", "return subtle.ConstantTimeCompare([]byte(a.parameter()), []byte(state)) == 1", "return subtle.ConstantTimeCompare([]byte(a.parameter()), []byte(state)) < 2", whole, callbacks},
		{"STA-107", "what a state hints at is not compared", "auth/login/attempt.go", "return subtle.ConstantTimeCompare([]byte(a.parameter()), []byte(state)) == 1", "secret, _, _ := strings.Cut(state, hintMark)\n\treturn subtle.ConstantTimeCompare([]byte(text(a.state)), []byte(secret)) == 1", "./auth/login/", "TestAttemptsAreFound"},
		{"STA-107", "the beginning of a state matches", "auth/login/attempt.go", "a.id() == id && a.matches(state)", "a.id() == id", "./auth/login/", "TestAttemptsAreFound"},
		{"STA-110", "an attempt under another's name", "auth/login/attempt.go", "err == nil && a.id() == id &&", "err == nil &&", "./auth/login/", "TestAttemptCookieUnderAnotherName"},
		{"STA-109", "attempts never end", "auth/login/attempt.go", "return !now.Before(a.expires)", "return false", whole, "TestAttackAttemptLifetime"},
		{"STA-115", "doubled parameters", "auth/login/callback.go", "if len(q[name]) > 1 {", "if len(q[name]) > 1000 {", whole, callbacks},
		{"STA-120", "HEAD uses an attempt up", "auth/login/login.go", "h.only(w, r, c, h.callback, http.MethodGet)", "h.only(w, r, c, h.callback, http.MethodGet, http.MethodHead)", whole, callbacks},
		{"STA-121", "attempts serve twice", "auth/login/callback.go", "|| !h.Memory.spent.use(answer.state, a.expires, h.Now())", "|| !h.Memory.spent.use(answer.state, a.expires, h.Now()) && false", whole, callbacks},
		{"STA-116", "the attempt stays after an error", "auth/login/callback.go", "\th.attempts.clear(w, &a)\n\ttarget :=", "\ttarget :=", whole, callbacks},
		{"SES-140", "the session before lives on", "auth/login/callback.go", "before := h.Sessions.Open(r.Header[\"Cookie\"]); before.Session != nil {", "before := h.Sessions.Open(r.Header[\"Cookie\"]); false && before.Session != nil {", whole, callbacks},
		{"-", "a browser goes round for ever: it loses the session", "auth/login/rounds.go", "if h.attempts.rounds(r) >= maxRounds {", "if false {", whole, "TestRounds"},
		{"-", "a browser goes round for ever: it loses every answer's cookies", "auth/login/rounds.go", "return spent >= maxRounds", "return false", whole, "TestRounds"},
		{"BYP-048", "policy is not asked at the callback", "auth/login/callback.go", "d := h.Policy.Admits(who); d.Verdict != policy.Allow {", "d := h.Policy.Admits(who); false && d.Verdict != policy.Allow {", whole, "TestAttackPolicy"},
		{"RED-062", "the attempt is not opened", "auth/seal/box.go", "if codec.Decode(b.purpose, text, &payload) != nil || len(payload) < audienceSize {", "if codec.Decode(\"\", text, &payload); len(payload) < audienceSize {", "./auth/seal/", "Test"},

		// The session.
		{"COO-124", "no HttpOnly", "auth/session/cookie.go", `"; HttpOnly; SameSite=Lax"`, `"; SameSite=Lax"`, whole, "TestAttackSessionCookie"},
		{"COO-128", "the first of several sessions counts", "auth/session/keeper.go", "case ours > 1 || found == nil:", "case found == nil:", whole, "TestAttackSessionCookie"},
		{"COO-129", "names are found inside others", "auth/session/cookie.go", `return before == "" || before[len(before)-1] == ';'`, "return true", session, "TestWhichCookieCounts|FuzzOpen"},
		{"COO-131", "sealed for another audience", "auth/seal/box.go", "if subtle.ConstantTimeCompare(payload[:audienceSize], b.audience[:]) != 1 {", "if subtle.ConstantTimeCompare(payload[:audienceSize], b.audience[:]) > 1 {", session, "TestIssuerAndAudience|TestWhichCookieCounts"},
		{"COO-133", "weak keys", "auth/seal/key.go", "if len(key) < minKey {", "if false {", "./auth/seal/", "TestParseKey|TestNewRingRefuses"},
		{"COO-135", "sessions never expire", "auth/session/keeper.go", "return !now.Before(s.Expires) || now.Sub(s.LastSeen) >= k.config.Idle", "return now.Sub(s.LastSeen) >= k.config.Idle", whole, "TestAttackSessionLifetime"},
		{"SES-141", "idle sessions never end", "auth/session/keeper.go", "return !now.Before(s.Expires) || now.Sub(s.LastSeen) >= k.config.Idle", "return !now.Before(s.Expires)", session, "TestIdle"},
		{"COO-137", "an ended session is not looked up", "auth/session/revocations.go", "if _, ended := s.sessions[session[0]%shards][session]; ended {", "if false {", whole, "TestScripts/end$|TestAttackSignOutInFlight"},
		{"SES-143", "a blocked account is not looked up", "auth/session/revocations.go", "\tif _, blocked := s.users[user]; blocked {\n\t\treturn Blocked\n\t}\n", "", session, "TestBlocks"},
		{"SES-147", "the cut-off is not looked up", "auth/session/revocations.go", "found && created <= c.at {", "found && created <= c.at-1<<60 {", session, "TestCutOff|TestEndAll"},
		{"SES-139", "a sign-out only clears the cookie", "auth/login/login.go", "if err := h.Sessions.End(r.Context(), opened.Session, opened.Session.Identity.Email, auth.EndSignOut); err != nil {", "if err := error(nil); err != nil {", whole, "TestScripts/end$"},
		{"SES-138", "the cookie comes before the record", "auth/session/keeper.go", "\tcase err != nil:\n\t\treturn \"\", nil, auth.SignedIn{}, away(\"record the sign-in\", err)\n", "", session, "TestStartWithoutTheStore"},
		{"STO-207", "old revocations count for ever", "auth/gate/gate.go", "age > g.config.MaxFeedAge {", "age < 0 {", "./auth/gate/", "TestSTO207|TestFeedNeverRead"},
		{"POL-169", "a block does not keep out", "auth/store/record.go", "if blocked {", "if false && blocked {", store, "TestSQLite/Block"},
		{"STO-200", "a sign-in is answered before the commit", "auth/store/together.go", "\t\tt.events = nil // told with the context of its caller", "\t\tt.events, one.signedIn = nil, became[i]\n\t\tclose(one.done)\n\t\tone.done = make(chan struct{})", store, "TestSignInTogether"},
		{"STO-200", "a commit that failed counts", "auth/store/store.go", "if err = t.sql.Commit(); err != nil {", "if err = t.sql.Commit(); false {", store, "TestPostgres/CommitFails"},
		{"SES-149", "PostgreSQL: transactions do not wait for each other", "auth/store/postgres.go", "UPDATE counters SET value = value WHERE name LIKE $1 RETURNING 1", "SELECT 1 FROM counters WHERE name LIKE $1", store, "TestPostgres/Turns"},
		{"STO-207", "PostgreSQL: a failover goes unnoticed", "auth/store/postgres.go", "e.epoch = `pg_postmaster_start_time()::TEXT`", "e.epoch = `''`", store, "TestPostgres/Failover"},
		{"-", "PostgreSQL: any server will do", "auth/store/postgres.go", `if !options.Has("sslmode") && !isLocal(config) {`, "if false {", store, "TestPostgresTLS"},

		// The directory.
		{"ADM-225", "everybody is an admin", "auth/directory/directory.go", `d, err := h.Gate.DecideOwn(admins, v.r.Header["Cookie"])`, `d, err := h.Gate.DecideOwn(false, v.r.Header["Cookie"])`, whole, directory},
		{"CSR-171", "changes by forms of any site", "auth/directory/change.go", "if !h.Pages.SameOrigin(v.r) {", "if false {", whole, directory},
		{"CSR-171", "own sessions are ended by forms of any site", "auth/directory/own.go", "if !h.Pages.SameOrigin(v.r) {", "if false {", whole, directory},
		{"-", "changes with an old sign-in", "auth/directory/change.go", "if v.now.Sub(v.who.Session().Created) > freshness {", "if false {", whole, "TestChangesNeedAFreshSignIn"},
		{"-", "the session of another user is ended", "auth/directory/change.go", "if s.User != user {", "if false {", whole, directory},
		{"-", "what is not understood ends every session", "auth/directory/input.go", `case values.Has("session") && in.Session == "":`, "case false:", whole, "TestUnclear"},
		{"CSR-179", "the own page tells the ids of sessions", "auth/directory/own.go", "Handle: handle(o.ID)", "Handle: string(o.ID)", whole, "TestAttackDirectory"},
		{"ADM-228", "an admin locks himself out unawares", "auth/directory/change.go", `case ask.Warning != "" && !in.Confirm:`, "case false:", whole, directory},

		// The pictures.
		{"-", "pictures from anywhere", "auth/picture/fetch.go", `return g.issuer != "" && at == g.issuer ||`, "return true || at == g.issuer ||", pictures, "TestAdmits"},
		{"-", "pictures from where it looks like Google", "auth/picture/fetch.go", `googleusercontent\.com:443$`, `googleusercontent\.com`, pictures, "TestAdmits"},
		{"-", "a picture's name leads inside", "auth/picture/fetch.go", "if err != nil || !public(to.Addr()) {", "if err != nil || !to.IsValid() {", pictures, "TestNamesThatLeadInside"},
		{"-", "a picture leads on", "auth/picture/fetch.go", "return http.ErrUseLastResponse", "return nil", pictures, "TestNoPicture"},
		{"-", "pictures without end", "auth/picture/fetch.go", "if len(body) > maxBytes {", "if false {", pictures, "TestNoPicture"},
		{"-", "a picture's address is logged", "auth/picture/fetch.go", "err = named.Err //", "_ = named //", pictures, "TestNoPicture"},
		{"-", "pictures of any size", "auth/picture/portrait.go", "if size.Width > maxSide || size.Height > maxSide {", "if size.Width > maxSide {", pictures, "TestNoPicture"},
		{"-", "work without end on a picture", "auth/picture/portrait.go", "if err := t.ctx.Err(); err != nil {", "if err := t.ctx.Err(); false {", pictures, "TestNoPicture"},
		{"-", "pictures wait for ever", "auth/picture/picture.go", "limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTime)", "limited, cancel := context.WithCancel(context.WithoutCancel(ctx))", pictures, "TestNoPicture"},
		{"-", "initials shine through a picture", "auth/picture/portrait.go", "image.White, image.Point{}, draw.Src)", "image.Black, image.Point{}, draw.Src)", pictures, "TestPicture"},
		{"-", "what failed is tried at once", "auth/picture/picture.go", "return held{nil, g.config.Now().Add(forget)}, nil", "return held{}, nil", pictures, "TestNoPicture|TestHeld"},
		{"-", "who leaves takes the picture along", "auth/picture/picture.go", "context.WithTimeout(context.WithoutCancel(ctx), fetchTime)", "context.WithTimeout(ctx, fetchTime)", pictures, "TestGone"},
		{"-", "any number of pictures at once", "auth/picture/picture.go", "maxFetches = 4", "maxFetches = 400", pictures, "TestAtOnce"},
		{"-", "everybody sees every picture", "auth/directory/picture.go", "if !h.enter(v, true) {", "if !h.enter(v, false) {", whole, "TestPictures"},
		{"-", "formulas for spreadsheets", "auth/directory/rows.go", `if begins && strings`, "if begins && false && strings", "./auth/directory/", "TestWriteCSV"},
		{"-", "an export outlasts the admin", "auth/directory/export.go", "if failure != nil || d.Verdict() != policy.Allow {", "if failure != nil || d.Verdict() > policy.Allow {", whole, "TestExport"},

		// Policy.
		{"POL-153", "unverified addresses", "auth/policy/decide.go", "if !id.EmailVerified {", "if false {", whole, "TestAttackPolicy$"},
		{"POL-154", "suffixes of domains", "auth/policy/decide.go", "if d, found := l.domains[domain]; found {", "for name := range l.domains {\n\t\tif strings.HasSuffix(domain, name) {\n\t\t\tdomain = name\n\t\t}\n\t}\n\tif d, found := l.domains[domain]; found {", policy, "TestPOL154|FuzzDomain|TestCFG249"},
		{"POL-155", "odd addresses", "auth/policy/decide.go", "if !canonical(id.Email) {", "if id.Email == \"\" {", policy, "TestPOL155"},
		{"POL-161", "the Workspace is not looked at", "auth/policy/decide.go", "owned := !listed || !p.google || d.hosted == id.HostedDomain", "owned := !listed || !p.google || d.hosted != \"\"", policy, "TestPOL161"},
		{"POL-169", "deny.emails is not looked at", "auth/policy/decide.go", "if rule, found := p.deny[id.Email]; found {", "if rule, found := p.deny[\"\"]; found {", policy, "TestPOL169|TestCFG249"},
		{"BYP-027", "other readings do not count", "auth/policy/decide.go", "j.public = j.public && !odd", "_ = odd", policy, "TestBYP027|TestEveryParserAgrees"},
		{"BYP-032", "rules for a method in any case", "auth/policy/decide.go", "if !j.public && !shouted(j.method) {", "if false {", policy, "TestBYP032"},
		{"ADM-226", "rules in one letter case alone", "auth/policy/decide.go", "for _, how := range [...]comparison{exactly, anyCase} {", "for _, how := range [...]comparison{exactly} {", whole, "TestAttackAdminPaths"},
		{"CFG-238", "nobody is everybody", "config/check.go", "if c.Allow.empty() && !c.Allow.Everyone && !d.failed(\"allow\") {", "if false {", "./config/", "TestProblems"},

		// The door.
		{"BYP-025", "a challenge lets in", "proxy/handler.go", "if d.Verdict() == policy.Allow {\n\t\tif x.r", "if d.Verdict() != policy.Deny {\n\t\tif x.r", proxy, "TestBYP025"},
		{"BYP-026", "encoded spellings of own paths", "proxy/handler.go", "x.target.path != x.r.URL.Path || !h.Auth.Serve(&x.out, x.r, x.target.path, x.client())", "!h.Auth.Serve(&x.out, x.r, x.r.URL.Path, x.client())", proxy, "TestBYP026"},
		{"BYP-037", "any host", "proxy/handler.go", "case !h.Resolver.OurHost(from):", "case false:", proxy, "TestBYP037"},
		{"BYP-034", "TRACE", "proxy/handler.go", "case r.Method == http.MethodTrace, r.Method == http.MethodConnect:", "case r.Method == http.MethodConnect:", proxy, "TestBYP034"},
		{"HDR-004", "underscores are letters", "auth/assertion/names.go", "\treturn byte(len(alphabet) - 1)\n}", "\tif c == '_' {\n\t\treturn 0\n\t}\n\treturn byte(len(alphabet) - 1)\n}", whole, "TestAttackHeaders"},
		{"HDR-002", "client's identity headers pass", "proxy/request.go", "if !isHopByHop(name) && !h.Teller.Owned(name) {", "if !isHopByHop(name) {", whole, "TestScripts/spoof|TestAttackHeaders"},
		{"HDR-008", "absent values are not deleted", "auth/assertion/assertion.go", "\t\t\tdelete(h, name)\n\t\t}\n\t}\n}\n\n// Headers returns", "\t\t}\n\t}\n}\n\n// Headers returns", "./auth/assertion/", "TestSetDeletes"},
		{"HDR-009", "trailers carry identity", "proxy/forward.go", "return !h.Teller.Owned(name)", "return true", whole, "TestAttackHeaders"},
		{"HDR-018", "our cookies reach the app", "proxy/request.go", "case session.IsOurs(strings.TrimFunc(name, notToken)):", "case session.IsOurs(name) && false:", whole, "TestAttackHeaders"},
		{"COO-124", "the app sets our cookies", "proxy/answer.go", "if !setsOurs(line) {", "if true {", proxy, "TestCOO124"},
		{"STR-182", "any upgrade", "proxy/request.go", `len(upgrade[0]) == len("websocket") && strings.EqualFold(upgrade[0], "websocket") && // no long s`, "", proxy, "TestSTR182"},
		{"CSR-176", "WebSockets of any site", "proxy/forward.go", "return len(origin) == 0 || len(origin) == 1 && origin[0] == h.origin", "return len(origin) < 2", proxy, "TestCSR176"},
		{"-", "a WebSocket's last word stands inside a frame", "proxy/websocket.go", "if !c.frames.between() {", "if false {", proxy, "TestACutWebSocketIsToldWhy"},
		{"-", "a WebSocket's last word follows a goodbye", "proxy/websocket.go", "f.payload == 0 && !f.last }", "f.payload == 0 }", proxy, "TestACutWebSocketIsToldWhy"},
		{"CSR-171", "forms of any site", "auth/page/audience.go", "return len(origins) == 1 && origins[0] == p.origin", "return true", whole, "TestScripts/end$"},
		{"RED-058", "two slashes at the front", "auth/page/target.go", `strings.HasPrefix(decoded, "//") || `, "", "./auth/page/", "TestParseTarget|FuzzParseTarget"},
		{"RED-058", "whole addresses", "auth/page/target.go", `!strings.HasPrefix(path, "/") || `, "", "./auth/page/", "TestParseTarget|FuzzParseTarget"},
		{"SES-148", "a decision is not made again", "proxy/forward.go", "if !now.gate.Holds(x.principal, x.judged) {", "if false {", proxy, "TestSES148|TestARequestDecided"},
		{"SMG-056", "half an answer ends for HTTP/1.0 like a whole one", "proxy/exchange.go", "\t\tx.breakOff()\n", "", proxy, "TestSMG056"},
		{"SES-143", "what is open stays open", "proxy/live.go", "return !g.Holds(x.principal, x.judged) }", "_ = g; return false }", proxy, "TestWhatIsOpenEnds"},
		{"DOS-187", "no time for headers", "cmd/loginwall/serve.go", "ReadHeaderTimeout: cfg.Timeouts.ReadHeader,", "ReadHeaderTimeout: time.Hour,", whole, "TestFloods/slow"},
		{"DOS-189", "headers without end", "cmd/loginwall/serve.go", "MaxHeaderBytes:    headerBytes(int(cfg.Limits.HeaderBytes)),", "MaxHeaderBytes:    headerBytes(int(cfg.Limits.HeaderBytes) << 10),", whole, "TestFloods/headers"},
		{"STO-208", "a newer store", "auth/store/migrate.go", "case have > len(s):", "case false:", store, "TestOpenRefuses"},
		{"BYP-045", "programs start logins", "auth/login/login.go", "if page.AudienceOf(r) == page.TopNavigation {", "if page.AudienceOf(r) >= page.Program {", whole, "TestScripts/signin"},
		{"HDR-014", "anybody says where a request comes from", "proxy/forwarded/forwarded.go", "\tif !out.Trusted {\n\t\tout.Hint", "\tif !out.Trusted && peer.IsMulticast() {\n\t\tout.Hint", "./proxy/forwarded/", "Test"},
		{"HDR-013", "one name fewer on the list", "auth/assertion/names.go", `"x-authentik-*", `, "", whole, "TestAttackHeaders"},
		{"COO-132", "a protected answer may be shared by caches", "proxy/forward.go", "\t\tmakePrivate(res.Header)\n", "", proxy, "TestInvariant8"},
		{"CSR-172", "frames of any site", "auth/page/page.go", "; frame-ancestors 'none'", "", "./auth/page/", "TestHeaders"},
		{"CSR-174", "no nosniff", "auth/page/page.go", `"nosniff"`, `""`, "./auth/page/", "TestHeaders"},
		{"LOG-236", "queries are logged", "proxy/handler.go", "x.record.Path = x.target.path\n", "x.record.Path = x.r.URL.RequestURI()\n", whole, callbacks},
		{"RED-058", "the redirect to https believes any host", "cmd/loginwall/redirect.go", "case !strings.EqualFold(host, public.Hostname()):", "case false:", whole, "TestRedirect$"},
		{"-", "strangers choose whose certificate is asked for", "cmd/loginwall/certificate.go", "case a.current.Load() != nil:\n\t\treturn m.GetCertificate(a.hello())", "case a.current.Load() != nil:\n\t\treturn m.GetCertificate(hello)", whole, "TestACME$"},

		// The connections to the app.
		{"SMG-056", "a connection is not looked at before it is used again", "proxy/direct/conn.go", "return c.raw.Control(c.look) == nil && c.silent", "return true", direct, "TestIdleConnections|TestSMG056"},
		{"SMG-056", "what stands behind an answer is passed over", "proxy/direct/conn.go", "if c.r != c.w || c.raw == nil {", "if c.raw == nil {", direct, differences},
		{"SMG-056", "a length beside chunks", "proxy/direct/answer.go", `!isToken(coding[0], "chunked") || length >= 0 ||`, `!isToken(coding[0], "chunked") ||`, direct, differences},
		{"SMG-056", "folded lines", "proxy/direct/answer.go", `name, value, ok := strings.Cut(strings.TrimSuffix(line, "\r"), ":")`, `if strings.HasPrefix(line, " ") {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\r"), ":")`, direct, differences},
		{"SMG-056", "trailers that frame", "proxy/direct/body.go", "if isFraming(name) {", "if false && isFraming(name) {", direct, differences},
		{"-", "what may have been done is asked for again", "proxy/direct/answer.go", "return !a.c.heard && (repeatable || sent == 0), a.why(err)", "return !a.c.heard && (repeatable || sent >= 0), a.why(err)", direct, "TestTryingAgain"},

		// What is told.
		{"-", "a stranger's trace goes on", "proxy/observe/trace.go", "case trusted && remote.IsValid():", "case remote.IsValid():", observe, "TestWhoseTraceGoesOn"},
		{"LOG-236", "traces hold queries", "proxy/observe/trace.go", "t.tracer.Start(ctx, methodOf(r.Method), options...)", `t.tracer.Start(ctx, methodOf(r.Method), append(options, trace.WithAttributes(attribute.String("url.query", r.URL.RawQuery)))...)`, observe, "TestSpansNameNobody"},
		{"-", "traces name people", "proxy/observe/trace.go", `attribute.String("loginwall.request_id", r.RequestID))`, `attribute.String("loginwall.request_id", r.RequestID), attribute.String("enduser.id", r.User))`, observe, "TestSpansNameNobody"},
		{"ADM-229", "nothing is told to the audit stream", "auth/store/store.go", "if s.config.Recorded != nil {", "if false {", whole, "TestScripts/audit$"},
		{"LOG-234", "lines in the audit stream", "proxy/observe/audit.go", "line = appendField(line, f.name, f.value, maxPath)", `line = append(line, ",\""+f.name+"\":\""+f.value+"\""...)`, observe, "TestLOG234"},
	}
}
