package member

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

// transport carries raft's messages as link calls. A raft server's ID and address are both its host number in decimal: where
// that host is, is the pool's business, so a host may move without raft noticing.
type transport struct {
	self  names.Host
	call  func(ctx context.Context, to names.Host, method string, header, body []byte) (link.Reply, error)
	inbox chan raft.RPC
	ctx   context.Context // ends with the raft instance
}

const (
	methodRaft   = "member.raft"
	raftTimeout  = 2 * time.Second
	maxSnapshot  = link.MaxMessage - 64<<10
	kindAppend   = "append"
	kindVote     = "vote"
	kindPreVote  = "prevote"
	kindSnapshot = "snapshot"
	kindTimeout  = "timeout"
)

// raftMessage is the header of methodRaft. The body is the data of a snapshot.
type raftMessage struct {
	Kind    string          `json:"kind"`
	Request json.RawMessage `json:"request"`
}

func serverID(h names.Host) raft.ServerID { return raft.ServerID(h.String()) }

func serverHost[T ~string](id T) names.Host {
	h, err := names.ParseHost(string(id))
	if err != nil {
		return names.Here
	}
	return h
}

func (t *transport) Consumer() <-chan raft.RPC { return t.inbox }

func (t *transport) LocalAddr() raft.ServerAddress { return raft.ServerAddress(t.self.String()) }

// AppendEntriesPipeline refuses: the registry writes too little to need one.
func (t *transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (t *transport) AppendEntries(id raft.ServerID, _ raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	return t.send(id, kindAppend, req, nil, resp)
}

func (t *transport) RequestVote(id raft.ServerID, _ raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return t.canvass(id, kindVote, req, resp)
}

func (t *transport) RequestPreVote(id raft.ServerID, _ raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return t.canvass(id, kindPreVote, req, resp)
}

// canvass sends a request for a vote until it is answered, for as long as an election may last: raft asks once, and would hold
// the next one only after raftHeartbeat if a connection was just being made.
func (t *transport) canvass(id raft.ServerID, kind string, req, resp any) error {
	for begin := time.Now(); ; {
		err := t.send(id, kind, req, nil, resp)
		if err == nil || time.Since(begin) > raftHeartbeat {
			return err
		}
		wait := time.NewTimer(retryEvery)
		select {
		case <-wait.C:
		case <-t.ctx.Done():
			wait.Stop()
			return err
		}
	}
}

func (t *transport) TimeoutNow(id raft.ServerID, _ raft.ServerAddress, req *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return t.send(id, kindTimeout, req, nil, resp)
}

func (t *transport) InstallSnapshot(id raft.ServerID, _ raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	body, err := io.ReadAll(io.LimitReader(data, maxSnapshot+1))
	if err != nil {
		return err
	}
	if len(body) > maxSnapshot {
		return fmt.Errorf("registry: a snapshot of over %d bytes does not fit a message", maxSnapshot)
	}
	return t.send(id, kindSnapshot, req, body, resp)
}

func (t *transport) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte { return []byte(a) }

func (t *transport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler is not needed: calls do not wait for one another, and what takes time goes to raft's own goroutines.
func (t *transport) SetHeartbeatHandler(func(raft.RPC)) {}

func (t *transport) send(id raft.ServerID, kind string, req any, body []byte, resp any) error {
	raw, err := json.Marshal(req)
	if err != nil {
		return err
	}
	header, err := json.Marshal(raftMessage{Kind: kind, Request: raw})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.ctx, raftTimeout)
	defer cancel()
	reply, err := t.call(ctx, serverHost(id), methodRaft, header, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(reply.Header, resp)
}

// serve hands an incoming message to raft and waits for its answer.
func (t *transport) serve(ctx context.Context, header, body []byte) ([]byte, error) {
	var msg raftMessage
	if err := json.Unmarshal(header, &msg); err != nil {
		return nil, fmt.Errorf("registry: bad message: %w", err)
	}
	commands := map[string]any{
		kindAppend: &raft.AppendEntriesRequest{}, kindVote: &raft.RequestVoteRequest{}, kindPreVote: &raft.RequestPreVoteRequest{},
		kindSnapshot: &raft.InstallSnapshotRequest{}, kindTimeout: &raft.TimeoutNowRequest{},
	}
	command, ok := commands[msg.Kind]
	if !ok {
		return nil, fmt.Errorf("registry: unknown message %q", msg.Kind)
	}
	if err := json.Unmarshal(msg.Request, command); err != nil {
		return nil, fmt.Errorf("registry: bad message: %w", err)
	}
	// The body is lent only until the handler returns, which may be before raft is done with it.
	resp, err := t.deliver(ctx, command, bytes.NewReader(bytes.Clone(body)))
	if err != nil {
		return nil, err
	}
	return json.Marshal(resp)
}

func (t *transport) deliver(ctx context.Context, command any, body io.Reader) (any, error) {
	answer := make(chan raft.RPCResponse, 1)
	select {
	case t.inbox <- raft.RPC{Command: command, Reader: body, RespChan: answer}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.ctx.Done():
		return nil, errNoRegistry
	}
	select {
	case r := <-answer:
		return r.Response, r.Error
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.ctx.Done():
		return nil, errNoRegistry
	}
}

var errNoRegistry = errors.New("this host holds no copy of the registry")

func (t *transport) peer(h names.Host) raft.ServerAddress { return raft.ServerAddress(h.String()) }
