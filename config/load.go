package config

import "errors"

// source is where a Config came from.
type source struct {
	file   string
	folder string
	files  []string
}

// Load reads the file at path, and every file it names.
func Load(path string, env func(string) (string, bool)) (*Config, []Problem, error) {
	return nil, nil, errors.New("not yet")
}

// File returns the path that Load was given.
func (c *Config) File() string { return c.file }

// Folder returns the absolute path of the folder that relative paths resolve against.
func (c *Config) Folder() string { return c.folder }

// Files returns the absolute paths of every file that was read.
func (c *Config) Files() []string { return c.files }

// KeyFile returns the file that holds the session key.
func (c *Config) KeyFile() string { return "" }
