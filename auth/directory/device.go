package directory

import "strings"

// programs and systems are the words by which browsers and systems tell themselves
// apart, the telling ones first: nearly every browser also claims to be the others.
func programs() [][2]string {
	return [][2]string{
		{"Edg", "Edge"},
		{"OPR/", "Opera"},
		{"SamsungBrowser/", "Samsung Internet"},
		{"Vivaldi/", "Vivaldi"},
		{"FxiOS/", "Firefox"},
		{"Firefox/", "Firefox"},
		{"CriOS/", "Chrome"},
		{"Chrome/", "Chrome"},
		{"Safari/", "Safari"},
		{"curl/", "curl"},
		{"Wget/", "Wget"},
		{"git/", "Git"},
		{"Go-http-client/", "A Go program"},
		{"python-requests/", "A Python program"},
	}
}

func systems() [][2]string {
	return [][2]string{
		{"iPhone", "iPhone"},
		{"iPad", "iPad"},
		{"Android", "Android"},
		{"CrOS", "ChromeOS"},
		{"Windows", "Windows"},
		{"Macintosh", "Mac"},
		{"Linux", "Linux"},
	}
}

// Device says in a few words of ours what a User-Agent tells (RFC 9110, section
// 10.1.5). Anybody can send anything there, so nothing of the text itself is kept.
func Device(agent string) string {
	find := func(words [][2]string) string {
		for _, w := range words {
			if strings.Contains(agent, w[0]) {
				return w[1]
			}
		}
		return ""
	}
	program, system := find(programs()), find(systems())
	switch {
	case program == "" && system == "":
		return "Unknown device"
	case system == "":
		return program
	case program == "":
		program = "A browser"
	}
	return program + " on " + system
}
