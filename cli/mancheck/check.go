package mancheck

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Commands holds the pages of section 1 in dir against root and every command below it, and returns one line for each
// disagreement, sorted. The error is for pages that cannot be read.
func Commands(root *cobra.Command, dir string) ([]string, error) {
	c := &checker{dir: dir}
	if err := c.page(root, root.Name()); err != nil {
		return nil, err
	}
	slices.Sort(c.problems)
	return c.problems, nil
}

// Flags holds the page at path, of a program without commands, against the names of its flags ("listen", "q"), and
// returns one line for each disagreement, sorted.
func Flags(names []string, path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := parsePage(f)
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, n := range names {
		have[dashes(n)] = true
	}
	var problems []string
	said := map[string]bool{}
	for _, flags := range p.flags {
		for f := range flags {
			said[f] = true
			if !have[f] {
				problems = append(problems, fmt.Sprintf("%s: %s is documented and does not exist", filepath.Base(path), f))
			}
		}
	}
	for f := range have {
		if !said[f] {
			problems = append(problems, fmt.Sprintf("%s: %s is not documented", filepath.Base(path), f))
		}
	}
	slices.Sort(problems)
	return problems, nil
}

type checker struct {
	dir      string
	problems []string
}

func (c *checker) complain(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// page checks the page called name, which is cmd's, and the pages below it.
func (c *checker) page(cmd *cobra.Command, name string) error {
	f, err := os.Open(filepath.Join(c.dir, name+".1"))
	if errors.Is(err, fs.ErrNotExist) {
		c.complain("%s.1 does not exist", name)
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	p, err := parsePage(f)
	if err != nil {
		return err
	}
	own := map[string]*cobra.Command{"": cmd} // what this page speaks of, by path below cmd
	if err := c.below(cmd, name, "", own); err != nil {
		return err
	}
	for path, sub := range own {
		if path != "" && !p.commands[path] {
			c.complain("%s.1: command %q is not documented", name, path)
		}
		c.undocumented(name, path, sub, p)
	}
	c.invented(name, own, p)
	return nil
}

func (c *checker) exists(page string) bool {
	_, err := os.Stat(filepath.Join(c.dir, page+".1"))
	return err == nil
}

// below collects the commands under cmd that page p speaks of, and checks those that have a page of their own.
func (c *checker) below(cmd *cobra.Command, name, path string, own map[string]*cobra.Command) error {
	for _, sub := range cmd.Commands() {
		if sub.Hidden || sub.Name() == "help" || sub.Name() == "completion" {
			continue
		}
		subPath := strings.TrimSpace(path + " " + sub.Name())
		subPage := name + "-" + strings.ReplaceAll(subPath, " ", "-")
		own[subPath] = sub
		if c.exists(subPage) {
			if err := c.page(sub, subPage); err != nil {
				return err
			}
			continue
		}
		if err := c.below(sub, name, subPath, own); err != nil {
			return err
		}
	}
	return nil
}

// undocumented complains of flags that the page does not have, unless the command has a page of its own.
func (c *checker) undocumented(name, path string, cmd *cobra.Command, p *page) {
	if path != "" && c.exists(name+"-"+strings.ReplaceAll(path, " ", "-")) {
		return
	}
	flags := cmd.LocalNonPersistentFlags()
	if path == "" && !cmd.HasParent() {
		flags = cmd.Flags()
		flags.AddFlagSet(cmd.PersistentFlags())
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		for _, n := range []string{f.Name, f.Shorthand} {
			if n != "" && !p.flags[path][dashes(n)] && !p.flags[""][dashes(n)] {
				c.complain("%s.1: %s of %q is not documented", name, dashes(n), cmd.CommandPath())
			}
		}
	})
}

// invented complains of flags and commands that the page has and the program does not.
func (c *checker) invented(name string, own map[string]*cobra.Command, p *page) {
	for path := range p.synopsis {
		if own[path] == nil && !c.exists(name+"-"+strings.ReplaceAll(path, " ", "-")) {
			c.complain("%s.1: command %q is in the SYNOPSIS and does not exist", name, path)
		}
	}
	for path, flags := range p.flags {
		cmds := []*cobra.Command{own[path]}
		if path == "" { // said of no command in particular: true when it is true of one
			for _, cmd := range own {
				cmds = append(cmds, cmd)
			}
		}
		for f := range flags {
			if !slices.ContainsFunc(cmds, func(cmd *cobra.Command) bool { return hasFlag(cmd, f) }) {
				c.complain("%s.1: %s of %q is documented and does not exist", name, f, path)
			}
		}
	}
}

func hasFlag(cmd *cobra.Command, flag string) bool {
	if cmd == nil {
		return false
	}
	if flag == "--help" || flag == "-h" {
		return true
	}
	name := strings.TrimLeft(flag, "-")
	for _, set := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags(), cmd.InheritedFlags()} {
		if strings.HasPrefix(flag, "--") && set.Lookup(name) != nil {
			return true
		}
		if !strings.HasPrefix(flag, "--") && len(name) == 1 && set.ShorthandLookup(name) != nil {
			return true
		}
	}
	return false
}

func dashes(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
