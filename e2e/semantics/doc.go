// Package semantics is what programs may rely on of processes: a map of names to cases, each a small program with a transcript that
// is always the same. The suite runs every case three times on real hosts made by split: natively, in a session that keeps all
// at home (`onehost run --local`), and in one that sends away what can go (`onehost run --no-local`). The three transcripts have to be the
// same, how the case ended included.
//
// Terms. The shape of a case says where the session stands (Shape): the case is its command, so that all of it runs in a nest; or the case
// is a spreader at home, which waits for, signals and asks about its ghosts; or it is outside, at a terminal, and puts $RUN before what it
// starts. A kid is a child of a case that runs a bit of Python, with pipes to it and from it (lib/sem.py).
//
// Exceptions are the cases that differ elsewhere, each with its reason. The list is kept true from both sides: a case that differs and is
// not listed fails, and so does one that is listed and does not differ. AtHome are those of which nothing could go elsewhere; for
// all others the suite makes sure that something did, from what `onehost run --explain` says or from what the case notes in $SEM_TRACE.
// In a session at home nothing may differ.
//
// How it runs. The test builds the programs, makes three hosts, and puts itself into the first as a runner (Reexec), which runs the cases
// of one mode, four side by side, each under a keeper (keep): a subreaper that ends whatever a case leaves behind, and the case itself when
// it hangs. A case written in Go is a function of this program, run again.
//
// How to write a case. Print roles and truths, never pids, times or paths. Wait for a line, a file or a state, with a bound (late, until,
// Kid.line), never for a time. Keep every Popen: one that is dropped reaps its child. A signal handler of Python's runs when the
// interpreter gets to it, so sleep in short pieces (forever) and write with say, not print. In a case of shape Parent only the direct
// children of the spreader go elsewhere, not those of its subshells; sed, sleep and their like stay at home (rules).
//
// By hand: SEMANTICS_ONLY='^signal/' runs some cases, SEMANTICS_TIMES=10 runs each so often and fails those that are not always the
// same, SEMANTICS_SHOW=1 shows the transcripts.
package semantics
