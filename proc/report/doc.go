// Package report shows a person what a run does: a live line on a terminal, with --explain a line for each command, and
// a summary at the end.
//
// The build's own output goes straight from its programs to the terminal and never through this package. So the
// live line has the bottom row to itself, by a scroll region (DECSTBM) of all other rows, as apt does it: what the
// programs print scrolls above. Each redraw is one write that saves the cursor and puts it back, so a program's line half
// written is not disturbed. The region is given up whenever the terminal is somebody else's: a program has turned
// echo or line editing off (an editor, a password), a command is running that talks to the person, the run is in the background
// or stopped, or it ends. Restore undoes the region after a crash.
//
// Methods never block: they change the state under a mutex and leave the writing to one goroutine, so a terminal held
// by ^S holds up nobody. A terminal that stays held loses lines rather than memory.
//
// Terms. A job is one command that was a candidate to go elsewhere. It is remote or local by where it ended; one that was lost
// with its host and begun again is still one job. A local job always has a reason.
//
// The factor of the summary is the CPU time of the whole run on all hosts, over the CPUs that home may use times the time the
// run took: what home would have taken, had it done it all with no CPU ever idle, over what it took.
//
// Lock order: there is one mutex, Reporter.mu; nothing is written under it.
package report
