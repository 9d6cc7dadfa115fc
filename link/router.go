package link

import "sync"

// Router holds the handlers of this host's methods; one router serves all connections. Handlers may be set at any
// time, also while connections are served. A call or stream of a method that has none is answered with ENOSYS; a note
// is dropped.
type Router struct {
	mu      sync.RWMutex
	calls   map[string]CallHandler
	streams map[string]StreamHandler
	notes   map[string]NoteHandler
	now     map[string]NoteHandler // notes that are handled as they are read
}

// NewRouter makes a router without handlers.
func NewRouter() *Router {
	return &Router{
		calls: map[string]CallHandler{}, streams: map[string]StreamHandler{}, notes: map[string]NoteHandler{}, now: map[string]NoteHandler{},
	}
}

// HandleCall sets the handler of a call method, in place of any other.
func (r *Router) HandleCall(method string, h CallHandler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[method] = h
}

// HandleStream sets the handler of a stream method, in place of any other.
func (r *Router) HandleStream(method string, h StreamHandler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.streams[method] = h
}

// HandleNote sets the handler of a note method, in place of any other. Notes that are queued already go to it too.
func (r *Router) HandleNote(method string, h NoteHandler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes[method] = h
}

// HandleNoteNow sets the handler of a note method, to be run by the goroutine that reads the connection, without a queue: for
// small notes that come all the time, as heartbeats do, where waking another goroutine would cost more than the work.
// While it runs nothing else of the connection is read, so it must not wait for anything but a short lock.
func (r *Router) HandleNoteNow(method string, h NoteHandler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now[method] = h
}

func (r *Router) call(method string) CallHandler {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.calls[method]
}

func (r *Router) stream(method string) StreamHandler {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.streams[method]
}

func (r *Router) note(method string) NoteHandler {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.notes[method]
}

func (r *Router) noteNow(method []byte) NoteHandler {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.now[string(method)]
}
