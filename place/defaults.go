package place

import (
	_ "embed"
	"strings"
)

//go:embed default.place
var defaultText string

// DefaultText is the built-in rules as a file in the format of onehost-place(5), with the why of each group.
func DefaultText() string { return defaultText }

// DefaultRules are the rules without any file.
func DefaultRules() *Rules {
	r, err := ParseRules(strings.NewReader(defaultText), "built-in rules")
	if err != nil {
		return newRules() // cannot be: a test parses them
	}
	return r
}
