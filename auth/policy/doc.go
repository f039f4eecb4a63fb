// Package policy decides who may send which request.
package policy
