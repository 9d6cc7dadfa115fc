package netfs

// Narrow makes a mount hold back less: so many bytes of one run, of a whole file, and in all.
func (c *MountConfig) Narrow(run, whole, held int64) { c.bounds = bounds{run, whole, held} }

// Held gives how many files have something to send.
func (m *Mount) Held() (n int) {
	m.fs.held.mu.Lock()
	defer m.fs.held.mu.Unlock()
	for _, since := range m.fs.held.nodes {
		if !since.IsZero() {
			n++
		}
	}
	return n
}

// Guarded gives how many files natives wait for.
func (s *Server) Guarded() int { return len(s.natives.guarded()) }
