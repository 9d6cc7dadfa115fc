package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// topColumns are the columns of top.
const topColumns = "pid,host,user,state,nice,pcpu,time,rss,command"

// fastest and slowest are the bounds of -d.
const (
	fastest = 100 * time.Millisecond
	slowest = time.Hour
)

// topOptions are the flags of top.
type topOptions struct {
	batch   bool
	seconds float64
	times   int
	hosts   hostsValue
	jobs    bool
	order   string
	users   []string
	noColor bool
}

func (o *topOptions) every() time.Duration { return time.Duration(o.seconds * float64(time.Second)) }

func (a *app) topCommand() *cobra.Command {
	o := topOptions{}
	cmd := &cobra.Command{
		Use:   "top [flags]",
		Short: "Show the hosts and their busiest processes, again and again",
		Args:  Arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !(o.seconds >= fastest.Seconds() && o.seconds <= slowest.Seconds()) { // nor if it is no number
				return Usage(cmd, "top: -d %v: want %v to %v seconds", o.seconds, fastest.Seconds(), slowest.Seconds())
			}
			if o.times < 0 {
				return Usage(cmd, "top: -n %d: want a number of times, or 0 for no end", o.times)
			}
			if _, err := psOrder(o.order); err != nil {
				return Usage(cmd, "top: --sort: %w", err)
			}
			return failed("top", a.top(cmd.Context(), &o))
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.batch, "batch", "b", false, "print the whole list each time, as into a pipe or file")
	f.Float64VarP(&o.seconds, "delay", "d", 1, "so many `seconds` from one list to the next")
	f.IntVarP(&o.times, "iterations", "n", 0, "end after so many `lists`")
	f.Var(&o.hosts, "host", "only what runs on these `hosts`")
	f.BoolVar(&o.jobs, "jobs", false, "only what runs away from its home")
	f.StringVar(&o.order, "sort", "-pcpu", "order by these `columns`, - before one for falling order")
	f.StringArrayVarP(&o.users, "user", "u", nil, "only processes of these `users`, names or numbers")
	f.BoolVar(&o.noColor, "no-color", false, "no colour on a terminal")
	return cmd
}

// top runs until it has shown all that it was asked for, the person ends it, or it gets a signal.
func (a *app) top(ctx context.Context, o *topOptions) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	watch := &watcher{a: a, req: control.ProcsRequest{Hosts: o.hosts, Recent: true}, keep: o.keep()}
	first := watch.look(ctx)
	if first.err != nil {
		return first.err
	}
	in, ok := a.env.Stdin.(*os.File)
	out, isFile := a.env.Stdout.(*os.File)
	if !o.batch && ok && isFile && term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(out.Fd())) {
		return a.topScreen(ctx, o, watch, first)
	}
	return a.topBatch(ctx, o, watch, first)
}

// keep makes the test of what is shown at all.
func (o *topOptions) keep() func(p *control.Proc) bool {
	users := words(o.users)
	return func(p *control.Proc) bool {
		return !p.Kernel && (!o.jobs || p.Host != p.Home) &&
			(len(users) == 0 || slices.Contains(users, p.User) || slices.Contains(users, strconv.FormatUint(uint64(p.UID), 10)))
	}
}

// topBatch prints one list after the other.
func (a *app) topBatch(ctx context.Context, o *topOptions, watch *watcher, s *sample) error {
	columns, err := psColumns([]string{topColumns})
	if err != nil {
		return err
	}
	order, err := psOrder(o.order)
	if err != nil {
		return err
	}
	t := time.NewTicker(o.every())
	defer t.Stop()
	for n := 1; ; n++ {
		if s.err != nil {
			return s.err
		}
		slices.SortFunc(s.rows, order)
		var b strings.Builder
		if n > 1 {
			b.WriteByte('\n')
		}
		fmt.Fprintln(&b, s.headline())
		if err := hostTable(s.hosts, s.at).write(&b, false); err != nil {
			return err
		}
		b.WriteByte('\n')
		if err := writeRows(&b, columns, s.rows, s.at, true, a.screenWidth(a.env.Stdout)); err != nil {
			return err
		}
		if _, err := io.WriteString(a.env.Stdout, b.String()); err != nil {
			return err
		}
		tellFailed(a.env.Stderr, "top", s.failed)
		if n == o.times {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if s = watch.look(ctx); ctx.Err() != nil {
			return nil
		}
	}
}

// sample is the cluster at one moment.
type sample struct {
	at     time.Time
	hosts  []control.Host
	rows   []*psRow
	failed map[names.HostName]string
	err    error
}

// headline counts what there is.
func (s *sample) headline() string {
	up, running, away := 0, 0, 0
	for _, h := range s.hosts {
		if h.State == "alive" || h.State == "drained" {
			up++
		}
	}
	for _, r := range s.rows {
		if r.State == "R" {
			running++
		}
		if r.Host != r.Home {
			away++
		}
	}
	return fmt.Sprintf("%s  %s up, %s: %d running, %d away from home", s.at.Format("15:04:05"), plural(up, "host"), plural(len(s.rows), "process"), running, away)
}

func plural(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "s"):
		return fmt.Sprintf("%d %ses", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// watcher takes samples, one after the other, and knows of each process what it had used the time before.
type watcher struct {
	a    *app
	req  control.ProcsRequest
	keep func(p *control.Proc) bool
	read map[names.HostName]time.Time
	used map[names.Pid]used
}

// used is what a process had used in the sample before, and how much it was using.
type used struct {
	cpu     time.Duration
	started time.Time
	host    names.HostName
	percent float64
}

// sampleLimit bounds the wait for the daemon, which itself does not wait longer than two seconds for other hosts.
const sampleLimit = 5 * time.Second

// look takes a sample.
func (w *watcher) look(ctx context.Context) *sample {
	ctx, cancel := context.WithTimeout(ctx, sampleLimit)
	defer cancel()
	s := &sample{}
	var hosts control.HostsReply
	if s.err = control.Call(ctx, w.a.control, control.OpHosts, struct{}{}, &hosts); s.err != nil {
		return s
	}
	reply, err := control.Procs(ctx, w.a.control, w.req)
	if err != nil {
		s.err = err
		return s
	}
	s.at, s.failed = time.Now(), reply.Failed
	for _, h := range hosts.Hosts {
		if h.State != "left" && (len(w.req.Hosts) == 0 || slices.Contains(w.req.Hosts, h.Name)) {
			s.hosts = append(s.hosts, h)
		}
	}
	s.rows = w.rows(s.at, reply)
	return s
}

// rows makes rows of the processes that are kept; %CPU is since the last time their host read them, or over the whole life of what was not
// there then.
func (w *watcher) rows(now time.Time, reply control.ProcsReply) []*psRow {
	kept := slices.DeleteFunc(reply.Procs, func(p control.Proc) bool { return !w.keep(&p) })
	rows := psRows(kept, now)
	before := w.used
	w.used = make(map[names.Pid]used, len(rows))
	for _, r := range rows {
		was, known := before[r.Pid]
		if known && was.host == r.Host && was.started.Sub(r.Started).Abs() < time.Second && r.CPU >= was.cpu {
			passed := reply.Read[r.Host].Sub(w.read[r.Host])
			if r.cpu = was.percent; passed > 0 { // else it is what was seen before
				r.cpu = 100 * float64(r.CPU-was.cpu) / float64(passed)
			}
		}
		w.used[r.Pid] = used{r.CPU, r.Started, r.Host, r.cpu}
	}
	w.read = reply.Read
	return rows
}

// killWords says what came of sending a signal, in one line.
func (a *app) killWords(ctx context.Context, signal int, row *psRow) string {
	err := inWords(a.call(ctx, askLimit, control.OpKill, control.KillRequest{Pid: row.Pid, Signal: signal}, &struct{}{}))
	what := fmt.Sprintf("%s %s", row.Name, printable(row.Comm))
	switch {
	case err == nil:
		return fmt.Sprintf("%s was sent to %s", signalName(signal), what)
	case errors.Is(err, context.Canceled):
		return ""
	}
	return fmt.Sprintf("%s: %v", what, err)
}
