package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// settingNames are the flags that may also be set by ONEHOST_NAME and by a settings file, wherever a command has them.
func settingNames() []string {
	return []string{"control", "explain", "fallback", "hosts", "local", "no-color", "no-local", "quiet", "slots"}
}

// ParseSettings reads a settings file: lines "key = value", blank lines, and lines that begin with #. A value is the rest
// of its line without the blanks around it. A key that is unknown or set twice is an error that names the line; file
// names the source in errors.
func ParseSettings(r io.Reader, file string) (map[string]string, error) {
	known := settingNames()
	values := map[string]string{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		_, twice := values[key]
		switch {
		case !ok || key == "":
			return nil, fmt.Errorf("%s:%d: %q: want 'key = value'", file, n, line)
		case !slices.Contains(known, key):
			return nil, fmt.Errorf("%s:%d: no setting is called %q: the settings are %s", file, n, key, strings.Join(known, ", "))
		case twice:
			return nil, fmt.Errorf("%s:%d: %s is set twice", file, n, key)
		}
		values[key] = value
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, fmt.Errorf("%s: a line is longer than %d bytes", file, bufio.MaxScanTokenSize)
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return values, nil
}

// applySettings gives every flag of cmd that is a setting, and was not on the command line, its value from the
// environment or the nearest file that has it.
func (a *app) applySettings(cmd *cobra.Command) error {
	var files []map[string]string
	paths := a.settingsFiles()
	for _, p := range paths {
		values, err := readSettings(p)
		if err != nil {
			return err
		}
		files = append(files, values)
	}
	for _, name := range settingNames() {
		f := cmd.Flags().Lookup(name)
		if f == nil || f.Changed {
			continue
		}
		variable := "ONEHOST_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if v := a.env.Getenv(variable); v != "" {
			if err := setFlag(f, v, variable); err != nil {
				return err
			}
			continue
		}
		for i, values := range files {
			if v, ok := values[name]; ok {
				if err := setFlag(f, v, paths[i]); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// setFlag sets a flag without marking it as given on the command line.
func setFlag(f *pflag.Flag, value, source string) error {
	if err := f.Value.Set(value); err != nil {
		return fmt.Errorf("%s: %s: %q: %w", source, f.Name, value, plain(err, f))
	}
	return nil
}

// plain puts the parse errors of numbers and booleans into words.
func plain(err error, f *pflag.Flag) error {
	switch f.Value.Type() {
	case "int":
		return errors.New("want a whole number")
	case "bool":
		return errors.New("want true or false")
	}
	return err
}

// hostsValue is a flag of comma-separated host names.
type hostsValue []names.HostName

func (h *hostsValue) Type() string { return "hosts" }

func (h *hostsValue) String() string {
	words := make([]string, len(*h))
	for i, n := range *h {
		words[i] = string(n)
	}
	return strings.Join(words, ",")
}

func (h *hostsValue) Set(s string) error {
	var list []names.HostName
	for word := range strings.SplitSeq(s, ",") {
		n, err := names.ParseHostName(strings.TrimSpace(word))
		if err != nil {
			return err
		}
		if !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	*h = list
	return nil
}

// fallbackValue is the flag --fallback.
type fallbackValue string

func (f *fallbackValue) Type() string   { return "never|retry" }
func (f *fallbackValue) String() string { return string(*f) }

func (f *fallbackValue) Set(s string) error {
	if s != control.FallbackNever && s != control.FallbackRetry {
		return errors.New("want never or retry")
	}
	*f = fallbackValue(s)
	return nil
}

// slotsValue is the flag --slots: 0 and above, or -1, which nobody types, for the daemon's choice.
type slotsValue int

func (v *slotsValue) Type() string { return "slots" }

func (v *slotsValue) String() string { return fmt.Sprint(int(*v)) }

func (v *slotsValue) Set(s string) error {
	var n int
	if _, err := fmt.Sscanf(s+"\n", "%d\n", &n); err != nil || n < 0 || n > 1<<16 {
		return errors.New("want a number of jobs from 0 to 65536")
	}
	*v = slotsValue(n)
	return nil
}
