package on

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/on/onpb"
)

// dialTime bounds the way to a host that is not known to be dead.
const dialTime = 5 * time.Second

// Hosts finds hosts, and the ways to them. A way to this host itself goes through memory.
type Hosts interface {
	// Find finds a host that is up by its name or number. The error is a line for a person.
	Find(host string) (names.Host, names.HostName, error)
	// Conn gives a connection, and what to do when it is no longer needed.
	Conn(ctx context.Context, h names.Host) (*link.Conn, func(), error)
}

// Home takes commands from the control socket to their hosts.
type Home struct{ hosts Hosts }

// NewHome makes a Home.
func NewHome(hosts Hosts) *Home { return &Home{hosts: hosts} }

// Serve handles control.OpOn. It returns when the command has ended, or could not be started, or its caller or its host is lost.
func (h *Home) Serve(ctx context.Context, who control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
	defer func() { closeAll(files) }()
	var req control.OnRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return fmt.Errorf("bad request: %w: %w", err, syscall.EINVAL)
	}
	words, err := readWords(c) // before anything is refused: what is left unread would hide the refusal from the caller
	if err != nil {
		return err
	}
	if req.Args < 0 || req.Args > len(words) {
		return fmt.Errorf("bad request: %d of %d words: %w", req.Args, len(words), syscall.EINVAL)
	}
	number, name, err := h.hosts.Find(req.Host)
	if err != nil {
		return err
	}
	x, err := readCaller(who)
	if err != nil {
		return err
	}
	x.Argv, x.Env, x.Cwd = words[:req.Args], words[req.Args:], req.Dir
	x.Tty, x.Rows, x.Cols = req.TTY, uint32(req.Rows), uint32(req.Cols)
	if len(x.Cwd) == 0 {
		cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", who.Pid))
		if err != nil {
			return fmt.Errorf("the caller is not to be seen: %w", err)
		}
		x.Cwd = []byte(cwd)
	}
	ends, err := takeEnds(files, req.TTY)
	closeAll(files)
	files = nil
	if err != nil {
		return err
	}
	cr := &carrier{}
	defer cr.close()
	cr.sources[stdin], cr.sinks[stdout] = newSource(ends[stdin]), newSink(ends[stdout])
	if !req.TTY {
		cr.sinks[stderr] = newSink(ends[stderr])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dialing, stop := context.WithTimeout(ctx, dialTime)
	conn, release, err := h.hosts.Conn(dialing, number)
	stop()
	if err != nil {
		return control.Refuse(syscall.EHOSTDOWN, "host %s cannot be reached: %v", name, err)
	}
	defer release()
	data, err := proto.Marshal(x)
	if err != nil {
		return err
	}
	if cr.stream, err = conn.Open(ctx, Method, nil, data); err != nil {
		return lost(name, err)
	}
	defer cr.stream.Reset(context.Canceled) // nothing after a clean end; otherwise the command ends
	return (&call{carrier: cr, control: c, number: number, name: name}).drive(ctx, cancel)
}

func lost(name names.HostName, err error) error {
	if errors.Is(err, link.ErrClosed) {
		return control.Refuse(syscall.EHOSTDOWN, "host %s is lost: it crashed, or the way to it is cut; the command is ended there", name)
	}
	return control.Refuse(names.Errno(err), "host %s: %v", name, err)
}

// readWords reads the words that follow a request.
func readWords(c *control.Conn) ([][]byte, error) {
	var all []byte
	for last := false; !last; {
		var w control.OnWords
		came, err := c.Receive(&w)
		closeAll(came)
		if err != nil {
			return nil, err
		}
		if last = w.Last; len(all)+len(w.Data) > control.MaxWords {
			return nil, fmt.Errorf("the command: %w", syscall.E2BIG)
		}
		all = append(all, w.Data...)
	}
	if len(all) == 0 {
		return nil, nil
	}
	if all[len(all)-1] != 0 {
		return nil, fmt.Errorf("bad request: the last word has no end: %w", syscall.EINVAL)
	}
	return bytes.Split(all[:len(all)-1], []byte{0}), nil
}

// takeEnds makes the caller's ends of pipes ours.
func takeEnds(files []*os.File, tty bool) (ends [descriptors]*os.File, err error) {
	want := descriptors
	if tty {
		want = stderr
	}
	if len(files) != want {
		return ends, fmt.Errorf("%d descriptors came, want %d: %w", len(files), want, syscall.EBADF)
	}
	for i, f := range files {
		if ends[i], err = waitable(f); err != nil {
			closeAll(ends[:i])
			return ends, err
		}
	}
	return ends, nil
}

// call is one command as its home sees it.
type call struct {
	*carrier
	control *control.Conn
	number  names.Host
	name    names.HostName
}

// drive carries the command's bytes, events and orders until its end, which it tells the caller.
func (c *call) drive(ctx context.Context, cancel context.CancelFunc) error {
	orders := make(chan struct{})
	go func() {
		defer close(orders)
		defer cancel() // the caller is gone: so is the command
		c.obey(ctx)
	}()
	defer func() {
		cancel()
		// The reader of orders sits in Receive; an expired deadline wakes it, and the connection ends with us anyway.
		_ = c.control.SetDeadline(past)
		<-orders
		_ = c.control.SetDeadline(time.Time{})
	}()
	defer context.AfterFunc(ctx, c.close)()
	c.run(ctx)
	e, err := c.events(ctx)
	if err != nil {
		c.close()
		cancel()
		c.wait()
		return lost(c.name, err)
	}
	if e.Kind == control.OnExited {
		c.sources[stdin].close() // whoever writes to the command sees that it is gone
		c.wait()
		if ctx.Err() != nil {
			return nil // nobody is left to tell
		}
	}
	return c.control.Send(e)
}

// events passes on what the command's host says, and gives the last of it.
func (c *call) events(ctx context.Context) (control.OnEvent, error) {
	for {
		msg, err := c.stream.Recv(ctx)
		if err != nil {
			return control.OnEvent{}, err
		}
		w, err := c.hear(msg)
		if err != nil {
			c.stream.Reset(err)
			return control.OnEvent{}, err
		}
		switch {
		case w == nil:
		case w.Kind == onpb.Word_STARTED:
			e := control.OnEvent{Kind: control.OnStarted, Host: c.name, Pid: names.MakePid(c.number, int(w.Pid))}
			if err := c.control.Send(e); err != nil {
				return control.OnEvent{}, err
			}
		case w.Kind == onpb.Word_REFUSED:
			return control.OnEvent{Kind: control.OnRefused, Host: c.name, Errno: syscall.Errno(w.Errno), Reason: w.Text}, nil
		case w.Kind == onpb.Word_EXITED:
			return control.OnEvent{Kind: control.OnExited, Host: c.name, Code: int(w.Code), Signal: int(w.Signal), Core: w.Core}, nil
		}
	}
}

// obey passes the caller's orders on until he, or ctx, is gone.
func (c *call) obey(ctx context.Context) {
	for {
		var o control.OnOrder
		came, err := c.control.Receive(&o)
		closeAll(came)
		if err != nil {
			return
		}
		w := &onpb.Word{Kind: onpb.Word_SIGNAL, Signal: int32(o.Signal)}
		if o.Signal == 0 {
			w = &onpb.Word{Kind: onpb.Word_SIZE, Rows: uint32(o.Rows), Cols: uint32(o.Cols)}
		}
		if c.say(ctx, w) != nil {
			return
		}
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
