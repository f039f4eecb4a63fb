package proxy

// For the fuzzers.
var (
	StripCookies = stripCookies
	SetsOurs     = setsOurs
)
