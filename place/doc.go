// Package place decides where a command runs. It is pure: it holds no goroutine, clock or socket, and only ReadRules opens
// files; time comes in as an argument, and the same input gives the same answer.
//
// It has two halves. Rules say what may go at all: which programs are spreaders (their children are candidates), and
// which commands stay at home whatever the load is, each with a reason that people get to see. Table and Choose say to
// which host a candidate goes.
//
// What a job will cost is estimated before it runs (Describe, Costs), and the home reckons what its jobs elsewhere have left
// to do: a job goes to the host on which it will end first. So one that takes ten times as long as the others is not put
// behind another such, while short ones may go beside a long one, which keeps make supplied with slots.
//
// Terms. A slot is room for one job; a host has a few more slots than CPUs (DefaultSlots). Busy is the jobs a host runs,
// for this home and all others. Occupancy is what busy would be with the new job, over the slots: where the ends
// are alike the job goes to the least occupied host, so that hosts of different size fill evenly and equal ones are striped. Load is CPUs
// in use over CPUs that may be used, as the host itself measures it. Foreign load is the part of it that its jobs do
// not explain: somebody else's work, or at home make, its shells and the serving of files to the others.
//
// Home is a host like the others, but its slots are a variable: half of them by default, none while its CPUs
// are taken by its own serving, because a job that home runs delays what every other host waits for.
//
// Slots bound nothing: the person's make -j does. When every slot is taken, the least occupied host takes one more,
// since a job that waits at home uses nobody's CPU and a job too many costs only a little memory.
//
// Traps. Rules look at words, never at substrings: "cc -o make.o makefile.c" starts no make. Whether a program is set-user-id or reads
// the terminal cannot be seen from its words: whoever asks must look at that himself. A Table is not safe
// for use by several goroutines at once.
package place
