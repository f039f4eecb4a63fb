package config

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// A decoder fills a Config from the tree of a YAML file. It walks the tree
// itself, since yaml's own decoding stops being strict inside types that decode
// themselves, takes a lone null for "not given", and stops at its first error.
type decoder struct {
	source
	env                func(string) (string, bool)
	problems, warnings Problems
	// meant lists the keys that unknown ones probably stand for.
	meant []string
	// inline is the first key whose secret stands in the file itself.
	inline string
}

// maxProblems is where counting stops: more than this is not a configuration.
const maxProblems = 100

// A field is a key that a section may have.
type field struct {
	name  string
	value reflect.Value
	tag   reflect.StructTag
	// file says that name_file may stand instead of name.
	file bool
}

// twin returns the other name of a value that may also stand in a file: of the
// two only one can be right.
func (f field) twin(name string) string {
	switch {
	case !f.file:
		return ""
	case name == f.name:
		return f.name + "_file"
	}
	return f.name
}

// fieldsOf lists the keys of the section v, those of inlined sections included.
func fieldsOf(v reflect.Value) []field {
	var out []field
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		name, option, _ := strings.Cut(tag.Get("yaml"), ",")
		switch {
		case option == "inline":
			out = append(out, fieldsOf(v.Field(i))...)
		case name != "" && name != "-":
			out = append(out, field{name, v.Field(i), tag, option == "file"})
		}
	}
	return out
}

// isSection tells sections of the file from values that happen to be structs.
func isSection(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for f := range t.Fields() {
		if f.Tag.Get("yaml") != "" {
			return true
		}
	}
	return false
}

// keysOf lists the full keys of everything below a section's type.
func keysOf(prefix string, t reflect.Type) []string {
	var out []string
	for _, f := range fieldsOf(reflect.New(t).Elem()) {
		key := join(prefix, f.name)
		out = append(out, key)
		if f.file {
			out = append(out, key+"_file")
		}
		inner := f.value.Type()
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if isSection(inner) {
			out = append(out, keysOf(key, inner)...)
		}
	}
	return out
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// defaults fills the section v with the defaults of its keys.
func (d *decoder) defaults(prefix string, v reflect.Value) {
	for _, f := range fieldsOf(v) {
		key := join(prefix, f.name)
		text, ok := f.tag.Lookup("default")
		switch {
		case ok && f.value.Kind() == reflect.Slice:
			for item := range strings.SplitSeq(text, ",") {
				f.value.Set(reflect.Append(f.value, reflect.ValueOf(item)))
			}
		case ok:
			if err := d.set(f.value, f.tag.Get("kind"), text); err != nil {
				d.problem(key, fmt.Sprintf("the default %q %v", text, err), "")
			}
		case isSection(f.value.Type()):
			d.defaults(key, f.value)
		}
	}
}

// mapping decodes a section.
func (d *decoder) mapping(prefix string, n *yaml.Node, v reflect.Value) {
	fields := fieldsOf(v)
	for key, pair := range d.pairs(prefix, n) {
		name := pair[0].Value
		i := slices.IndexFunc(fields, func(f field) bool {
			return f.name == name || f.file && f.name+"_file" == name
		})
		if i < 0 {
			d.unknown(prefix, pair[0], fields)
			continue
		}
		f := fields[i]
		twin := f.twin(name)
		if p, ok := d.written[join(prefix, twin)]; ok && twin != "" {
			d.problem(key, fmt.Sprintf("stands beside %s in line %d", twin, p.line), "keep one of the two")
		} else if name == f.name {
			d.value(key, pair[1], f.value, f.tag.Get("kind"))
		} else {
			d.fromFile(key, pair[1], f.value)
		}
	}
}

// pairs yields the keys and values of a mapping by full key, and reports keys
// that are no plain text or are there twice.
func (d *decoder) pairs(prefix string, n *yaml.Node) iter.Seq2[string, [2]*yaml.Node] {
	return func(yield func(string, [2]*yaml.Node) bool) {
		seen := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			switch {
			case k.Kind == yaml.AliasNode || k.Anchor != "" || k.ShortTag() == "!!merge":
				d.problemAt(at(k), prefix, "anchors, aliases and merge keys are not supported", "write the value out")
				continue
			case k.Kind != yaml.ScalarNode || k.Style&yaml.TaggedStyle != 0 || k.ShortTag() == "!!null":
				d.problemAt(at(k), prefix, "a key must be plain text", "")
				continue
			case seen[k.Value] != 0:
				d.problemAt(at(k), printable(prefix, k.Value), "repeated key", fmt.Sprintf("it stands in line %d already; keep one", seen[k.Value]))
				continue
			}
			seen[k.Value] = k.Line
			key := join(prefix, k.Value)
			d.written[key] = at(k)
			if !yield(key, [2]*yaml.Node{k, n.Content[i+1]}) {
				return
			}
		}
	}
}

// unknown reports a key that nobody reads, and the one that was probably meant.
func (d *decoder) unknown(prefix string, k *yaml.Node, fields []field) {
	name := k.Value
	delete(d.written, join(prefix, name))
	var near []string
	for _, f := range fields {
		near = append(near, f.name)
		if f.file {
			near = append(near, f.name+"_file")
		}
	}
	do := "keys here: " + strings.Join(near, ", ")
	if prefix == "" {
		do = "config.example.yaml has them all"
	}
	if meant := nearest(name, near); meant != "" {
		d.meant = append(d.meant, join(prefix, meant))
		do = "did you mean " + meant + "?"
	} else if meant := elsewhere(name); meant != "" && !strings.HasPrefix(prefix, "routes[") {
		d.meant = append(d.meant, meant)
		do = "did you mean " + meant + "?"
	}
	d.problemAt(at(k), printable(prefix, name), "unknown key", do)
}

// elsewhere looks for a name in all sections: allowed_domains for allow.domains,
// client_id for google.client_id.
func elsewhere(name string) string {
	all := keysOf("", reflect.TypeFor[Config]())
	if meant := nearest(name, all); meant != "" {
		return meant
	}
	i := slices.IndexFunc(all, func(key string) bool { return strings.HasSuffix(key, "."+name) })
	if i < 0 {
		return ""
	}
	return all[i]
}

// printable is the full key for a message; a name that does not look like one may
// be a value that slipped, and is left out.
func printable(prefix, name string) string {
	if len(name) <= 40 && keyName.MatchString(name) {
		return join(prefix, name)
	}
	return prefix
}

var keyName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_. -]*$`)

// value decodes one value of any shape.
func (d *decoder) value(key string, n *yaml.Node, v reflect.Value, kind string) {
	if !d.plain(key, n) {
		return
	}
	t := v.Type()
	switch {
	case t == reflect.TypeFor[Domain]() && n.Kind == yaml.ScalarNode:
		d.scalar(key, n, v.FieldByName("Name"), "domain")
	case t.Kind() == reflect.Pointer && isSection(t.Elem()):
		v.Set(reflect.New(t.Elem()))
		d.defaults(key, v.Elem())
		d.section(key, n, v.Elem())
	case isSection(t):
		d.section(key, n, v)
	case t.Kind() == reflect.Slice:
		d.list(key, n, v, kind)
	case t.Kind() == reflect.Map:
		d.words(key, n, v, kind)
	default:
		d.scalar(key, n, v, kind)
	}
}

// plain refuses what YAML has for programs: aliases let a small file stand for a
// huge one, tags change what a value means, and a null could be read as
// "nothing" or as "the default".
func (d *decoder) plain(key string, n *yaml.Node) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.problemAt(at(n), key, "anchors and aliases are not supported", "write the value out; put quotes around a value that begins with & or *")
	case n.Style&yaml.TaggedStyle != 0:
		d.problemAt(at(n), key, "tags are not supported", "put quotes around a value that begins with !")
	case isNull(n):
		d.problemAt(at(n), key, "has no value", "give one, or take the line out")
	default:
		return true
	}
	return false
}

func (d *decoder) section(key string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		fields := fieldsOf(v)
		d.problemAt(at(n), key, "is "+shape(n)+" where keys belong", "such as "+fields[0].name+": …")
		return
	}
	d.mapping(key, n, v)
}

func (d *decoder) list(key string, n *yaml.Node, v reflect.Value, kind string) {
	if n.Kind != yaml.SequenceNode {
		do := "put it in brackets: [ … ]"
		if n.Kind == yaml.MappingNode {
			do = "begin each entry with a dash"
		}
		d.problemAt(at(n), key, "is "+shape(n)+" where a list belongs", do)
		return
	}
	v.SetZero() // a list in the file replaces the default
	for i, item := range n.Content {
		itemKey := key + "[" + strconv.Itoa(i) + "]"
		d.written[itemKey] = at(item)
		entry := reflect.New(v.Type().Elem()).Elem()
		if isSection(entry.Type()) {
			d.defaults(itemKey, entry)
		}
		d.value(itemKey, item, entry, kind)
		v.Set(reflect.Append(v, entry))
	}
}

// words decodes a mapping whose keys are the names of headers.
func (d *decoder) words(key string, n *yaml.Node, v reflect.Value, kind string) {
	if n.Kind != yaml.MappingNode {
		d.problemAt(at(n), key, "is "+shape(n)+" where names and values belong", "write them as Name: value")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for itemKey, pair := range d.pairs(key, n) {
		if !headerName.MatchString(pair[0].Value) {
			d.problemAt(at(pair[0]), key, "here stands something that cannot be a header's name", "as in X-User-Id")
			continue
		}
		entry := reflect.New(v.Type().Elem()).Elem()
		d.value(itemKey, pair[1], entry, kind)
		v.SetMapIndex(reflect.ValueOf(pair[0].Value), entry)
	}
}

// headerName is a token (RFC 9110, section 5.6.2).
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")

// scalar decodes a single value.
func (d *decoder) scalar(key string, n *yaml.Node, v reflect.Value, kind string) {
	text, hidden, ok := d.text(key, n, v.Kind() == reflect.Bool)
	if !ok {
		return
	}
	_, isSecret := reflect.TypeAssert[Secret](v)
	if isSecret && !hidden && d.inline == "" {
		d.inline = key
	}
	err := d.set(v, kind, text)
	if s, ok := reflect.TypeAssert[Store](v); ok && !s.Shared.IsZero() && !hidden && strings.Contains(text, "@") {
		d.inline = cmp.Or(d.inline, key)
	}
	if err != nil {
		subject := "the value"
		if !isSecret && quotable(kind, n.Value) {
			subject = strconv.Quote(n.Value) // ${NAME} itself, not what it stands for
		}
		d.fault(at(n), key, subject, err, hidden)
	}
}

// fromFile decodes a value from the file that n names.
func (d *decoder) fromFile(key string, n *yaml.Node, v reflect.Value) {
	if !d.plain(key, n) {
		return
	}
	text, _, ok := d.text(key, n, false)
	if !ok {
		return
	}
	path, err := d.path(text)
	if err != nil {
		d.fault(at(n), key, "the value", err, true)
		return
	}
	data, mode, ok := d.named(key, path, maxSecretFile)
	if !ok {
		return
	}
	if mode.Perm()&0o007 != 0 {
		d.warn(key, "the file is open to every user of this machine", "chmod 0600, or 0440 for a mounted secret")
	}
	if err := d.set(v, "", strings.TrimRight(string(data), "\r\n")); err != nil {
		d.fault(at(n), key, "what the file holds", err, true)
	}
}

// text returns the text of a single value, with ${NAME} replaced, and whether it
// must stay out of messages.
func (d *decoder) text(key string, n *yaml.Node, wantBool bool) (text string, hidden, ok bool) {
	if n.Kind != yaml.ScalarNode {
		d.problemAt(at(n), key, "is "+shape(n)+" where a single value belongs", "")
		return "", false, false
	}
	name, isVariable := variable(n.Value)
	quoted := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	switch {
	case n.Value == "":
		d.problemAt(at(n), key, "is empty", "give a value, or take the line out")
	case isVariable:
		value, set := "", false
		if d.env != nil {
			value, set = d.env(name)
		}
		if strings.TrimSpace(value) != "" {
			return value, true, true
		}
		what := "the environment variable " + name + " is not set"
		if set {
			what = "the environment variable " + name + " is empty"
		}
		d.problemAt(at(n), key, what, "set it, or write the value here")
	case strings.Contains(n.Value, "${"):
		d.problemAt(at(n), key, "holds ${ inside other text", "a whole value may be ${NAME}, with letters, digits and _; a part of one may not")
	case wantBool && quoted:
		d.problemAt(at(n), key, "is text where true or false belongs", "write it without quotes")
	case !wantBool && n.ShortTag() == "!!bool":
		d.problemAt(at(n), key, "is true or false where text belongs", "put quotes around it if it is meant as text")
	default:
		return n.Value, false, true
	}
	return "", false, false
}

var variableName = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)

func variable(text string) (name string, ok bool) {
	if m := variableName.FindStringSubmatch(text); m != nil {
		return m[1], true
	}
	return "", false
}

// quotable tells whether a value that stands in the file itself may be repeated
// in a message: not when it is something that a secret is easily pasted into, and
// not when it is a URL that may hold a password.
func quotable(kind, text string) bool {
	withPassword := strings.Contains(text, "@") && strings.ContainsAny(text, "/:")
	return kind != "client_id" && kind != "file" && !withPassword && len(text) <= 80
}

// fault reports what set did not like. Of hidden texts only the advice that holds
// for every text is given.
func (d *decoder) fault(p position, key, subject string, err error, hidden bool) {
	var f fault
	if !errors.As(err, &f) {
		f.what = err.Error()
	}
	do := f.do
	if f.fix != "" && !hidden && subject != "the value" {
		do = f.fix
	}
	d.problemAt(p, key, subject+" "+f.what, do)
}

func (d *decoder) problemAt(p position, key, what, do string) {
	if len(d.problems) == maxProblems {
		return
	}
	d.problems = append(d.problems, Problem{d.file, max(1, p.line), max(1, p.column), key, what, do})
}

func (d *decoder) problem(key, what, do string) { d.problemAt(d.position(key), key, what, do) }

func (d *decoder) warn(key, what, do string) {
	p := d.position(key)
	d.warnings = append(d.warnings, Problem{d.file, p.line, p.column, key, what, do})
}

// has tells whether the file has the key.
func (d *decoder) has(key string) bool {
	_, ok := d.written[key]
	return ok
}

// failed tells whether something is wrong with the key, or with one below it, so
// that what the Config says of it is not what was meant.
func (d *decoder) failed(key string) bool {
	below := func(other string) bool {
		rest, ok := strings.CutPrefix(other, key)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	}
	return slices.ContainsFunc(d.problems, func(p Problem) bool { return below(p.Key) }) || slices.ContainsFunc(d.meant, below)
}

func at(n *yaml.Node) position { return position{n.Line, n.Column} }

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func shape(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a set of keys"
	case yaml.SequenceNode:
		return "a list"
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
	}
	return "a single value"
}
