package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
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

// Conn is one connection of the control socket. Send may be called by several goroutines, Receive by one at a time.
type Conn struct {
	nc   *net.UnixConn
	send sync.Mutex
	rbuf []byte
	obuf []byte
}

func newConn(nc *net.UnixConn) *Conn {
	return &Conn{nc: nc, rbuf: make([]byte, MaxPacket+1), obuf: make([]byte, unix.CmsgSpace(4*maxFDs))}
}

// Dial connects to the daemon at path; DefaultPath if it is empty. It blocks no longer than ctx.
func Dial(ctx context.Context, path string) (*Conn, error) {
	if path == "" {
		path = DefaultPath
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unixpacket", path)
	if err != nil {
		if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("%w (nobody listens at %s): start it with 'systemctl start onehostd' or, as root, 'onehostd &'", ErrNoDaemon, path)
		}
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return newConn(nc.(*net.UnixConn)), nil
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
// file is io.EOF. The descriptors are the caller's to close.
func (c *Conn) Receive(v any) ([]*os.File, error) {
	n, oobn, flags, _, err := c.nc.ReadMsgUnix(c.rbuf, c.obuf)
	if errors.Is(err, syscall.ECONNRESET) { // the other end closed without reading all; the kernel says so before what it had sent last
		n, oobn, flags, _, err = c.nc.ReadMsgUnix(c.rbuf, c.obuf)
	}
	if err != nil {
		return nil, err
	}
	var files []*os.File
	if oobn > 0 {
		if files, err = rights(c.obuf[:oobn]); err != nil {
			return nil, err
		}
	}
	fail := func(err error) ([]*os.File, error) {
		closeAll(files)
		return nil, err
	}
	if n == 0 {
		return fail(io.EOF)
	}
	if n > MaxPacket || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return fail(fmt.Errorf("control: a message was cut short: %w", syscall.EMSGSIZE))
	}
	var f Failure
	if err := json.Unmarshal(c.rbuf[:n], &f); err == nil && f.Text != "" {
		return fail(&f)
	}
	if err := json.Unmarshal(c.rbuf[:n], v); err != nil {
		return fail(fmt.Errorf("control: bad message: %w", err))
	}
	return files, nil
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
			unix.CloseOnExec(n)
			files = append(files, os.NewFile(uintptr(n), "passed"))
		}
	}
	return files, nil
}

// Open sends the opening Request of an operation.
func (c *Conn) Open(op string, body any, fds ...*os.File) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	return c.Send(Request{Op: op, Body: raw}, fds...)
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
