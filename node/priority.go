package node

import (
	"fmt"

	"github.com/onehost/onehost/sys"
)

// daemonNice is the daemon's nice value. It uses little, but what it does late, others wait for: heartbeats, files, the
// start of a job. Beside eight compilers at nice 0 in one control group it would have its turn too seldom.
const daemonNice = -10

// takePrecedence raises the priority of the daemon and of the inits of its nests; the jobs have their home's. A nice value that
// somebody chose for the daemon is left alone.
func takePrecedence() error {
	now, err := sys.Nice()
	if err == nil && now == 0 {
		err = sys.SetNice(daemonNice)
	}
	if err != nil {
		return fmt.Errorf("nice value %d: %w", daemonNice, err)
	}
	return nil
}
