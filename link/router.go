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
}

// NewRouter makes a router without handlers.
func NewRouter() *Router {
	return &Router{calls: map[string]CallHandler{}, streams: map[string]StreamHandler{}, notes: map[string]NoteHandler{}}
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
