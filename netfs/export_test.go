package netfs

// Narrow makes a mount hold back less: so many bytes of one run, of a whole file, and in all.
func (c *MountConfig) Narrow(run, whole, held int64) { c.bounds = bounds{run, whole, held} }
