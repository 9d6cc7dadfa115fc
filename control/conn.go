package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// MaxPacket bounds one packet, in bytes; it fits the kernel's default socket buffer.
const MaxPacket = 160 << 10

// maxFDs bounds the descriptors of one packet (the kernel's own bound is 253).
const maxFDs = 250

// Request opens a connection: the operation and its argument.
type Request struct {
	Op   string          `json:"op"`
	Body json.RawMessage `json:"body,omitempty"`
}

// opening is a Request whose body is not marshalled yet.
type opening struct {
	Op   string `json:"op"`
	Body any    `json:"body"`
}

// Failure is how a daemon says no: the text is one line for a person, Errno its kind.
type Failure struct {
	Text  string        `json:"error"`
	Errno syscall.Errno `json:"errno,omitempty"`
}

func (f *Failure) Error() string { return f.Text }

// Refuse is a handler's no: a sentence that says what to do, without the words that the kernel has for the kind.
func Refuse(kind syscall.Errno, format string, args ...any) error {
	return &Failure{Text: fmt.Sprintf(format, args...), Errno: kind}
}

// Unwrap gives the errno, so that errors.Is works across the socket.
func (f *Failure) Unwrap() error {
	if f.Errno == 0 {
		return nil
	}
	return f.Errno
}

// ErrNoDaemon says that nobody listens at the control socket.
var ErrNoDaemon = errors.New("onehostd is not running")

// ErrElsewhere says that the caller is a job of another host and sees its home's tree: the daemon that the socket belongs to cannot be
// reached from here.
var ErrElsewhere = errors.New("this process runs away from its home, whose daemon it cannot ask")

// Conn is one connection of the control socket. Send may be called by several goroutines, Receive by one at a time.
type Conn struct {
	nc   *net.UnixConn
	rc   syscall.RawConn // of nc
	send sync.Mutex
}

func newConn(nc *net.UnixConn) (*Conn, error) {
	rc, err := nc.SyscallConn()
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return &Conn{nc: nc, rc: rc}, nil
}

// room is where one packet is read to. There are thousands of connections, and nearly all of them wait: so they have none of their own.
type room struct{ data, oob []byte }

var rooms = sync.Pool{New: func() any {
	return &room{data: make([]byte, MaxPacket+1), oob: make([]byte, unix.CmsgSpace(4*maxFDs))}
}}

// Dial connects to the daemon at path; DefaultPath if it is empty. It blocks no longer than ctx.
func Dial(ctx context.Context, path string) (*Conn, error) {
	if path == "" {
		path = DefaultPath
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unixpacket", path)
	if err != nil {
		if remoteTree(path) {
			return nil, fmt.Errorf("%w: give 'onehost run --local' or a rule of onehost-place(5) for the command that asks", ErrElsewhere)
		}
		if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("%w (nobody listens at %s): start it with 'systemctl start onehostd' or, as root, 'onehostd &'", ErrNoDaemon, path)
		}
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return newConn(nc.(*net.UnixConn))
}

// remoteTree reports whether the path lies in a tree that comes from another host.
func remoteTree(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(filepath.Dir(path), &fs) == nil && fs.Type == unix.FUSE_SUPER_MAGIC
}

// Close ends the connection.
func (c *Conn) Close() error { return c.nc.Close() }

// Send marshals v and sends it as one packet with the descriptors of fds, which stay the caller's.
func (c *Conn) Send(v any, fds ...*os.File) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if len(data) > MaxPacket {
		return fmt.Errorf("control: a message of %d bytes is over the limit of %d: %w", len(data), MaxPacket, syscall.EMSGSIZE)
	}
	if len(fds) > maxFDs {
		return fmt.Errorf("control: %d descriptors are over the limit of %d: %w", len(fds), maxFDs, syscall.EMSGSIZE)
	}
	var oob []byte
	if len(fds) > 0 {
		ns := make([]int, len(fds))
		for i, f := range fds {
			ns[i] = int(f.Fd())
		}
		oob = unix.UnixRights(ns...)
	}
	c.send.Lock()
	defer c.send.Unlock()
	_, _, err = c.nc.WriteMsgUnix(data, oob, nil)
	return err
}

// Receive waits for one packet and unmarshals it into v. A Failure sent by the other end comes back as the error. End of
// file is io.EOF; Unread tells more. The descriptors are the caller's to close.
func (c *Conn) Receive(v any) ([]*os.File, error) {
	p, err := c.packet()
	if err != nil {
		return nil, err
	}
	defer rooms.Put(p.room)
	var files []*os.File
	if p.oobn > 0 {
		if files, err = rights(p.oob[:p.oobn]); err != nil {
			return nil, err
		}
	}
	fail := func(err error) ([]*os.File, error) {
		closeAll(files)
		return nil, err
	}
	if p.n == 0 && p.reset {
		return fail(fmt.Errorf("%w: %w", io.EOF, syscall.ECONNRESET))
	}
	if p.n == 0 {
		return fail(io.EOF)
	}
	if p.n > MaxPacket || p.flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return fail(fmt.Errorf("control: a message was cut short: %w", syscall.EMSGSIZE))
	}
	data := p.data[:p.n]
	if bytes.HasPrefix(data, failing) {
		var f Failure
		if err := json.Unmarshal(data, &f); err == nil && f.Text != "" {
			return fail(&f)
		}
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fail(fmt.Errorf("control: bad message: %w", err))
	}
	return files, nil
}

// failing is how every Failure begins.
var failing = []byte(`{"error":`)

// Unread reports whether an error of Receive says that the other end closed without having read what was sent to it last.
func Unread(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

// packet is one that was read; its room is to be put back.
type packet struct {
	*room
	n, oobn, flags int
	reset          bool // the other end closed without reading all
}

// packet waits for one.
func (c *Conn) packet() (p packet, err error) {
	waited := c.rc.Read(func(fd uintptr) bool {
		p.room = rooms.Get().(*room)
		for {
			p.n, p.oobn, p.flags, _, err = unix.Recvmsg(int(fd), p.data, p.oob, unix.MSG_CMSG_CLOEXEC)
			switch {
			case errors.Is(err, syscall.EINTR):
			case errors.Is(err, syscall.ECONNRESET) && !p.reset: // the kernel says so before what the other end had sent last
				p.reset = true
			case errors.Is(err, syscall.EAGAIN):
				rooms.Put(p.room)
				p.room = nil // or it would be kept by who waits
				return false
			default:
				return true
			}
		}
	})
	if waited != nil { // closed, or too late
		if op, ok := errors.AsType[*net.OpError](waited); ok {
			op.Op = "read"
		}
		return p, waited
	}
	if err != nil {
		rooms.Put(p.room)
		return p, os.NewSyscallError("recvmsg", err)
	}
	return p, nil
}

// SetDeadline bounds every later Send and Receive; the zero time removes the bound.
func (c *Conn) SetDeadline(t time.Time) error { return c.nc.SetDeadline(t) }

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func rights(oob []byte) ([]*os.File, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	var files []*os.File
	for i := range msgs {
		ns, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // some other kind of control message
		}
		for _, n := range ns {
			files = append(files, os.NewFile(uintptr(n), "passed"))
		}
	}
	return files, nil
}

// Open sends the opening Request of an operation.
func (c *Conn) Open(op string, body any, fds ...*os.File) error {
	return c.Send(opening{op, body}, fds...)
}

// Call performs one operation on a connection of its own: request, one reply. It blocks no longer than ctx.
func Call(ctx context.Context, path, op string, req, reply any) error {
	c, err := Dial(ctx, path)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.Open(op, req); err != nil {
		return err
	}
	if _, err := c.Receive(reply); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("onehostd did not answer: %w", ctx.Err())
		}
		return err
	}
	return nil
}
