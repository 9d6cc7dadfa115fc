// Package names holds the nouns of a cluster: host numbers, host and cluster names, pids, paths under
// /net and the kinds of error that cross hosts. It is the lowest floor: it imports nothing of onehost,
// does no I/O, and every type is a value that may be copied and compared.
//
// Terms. A host number is given once by the registry and is never re-used while anything can remember
// it. An incarnation is one life of a host; every message between hosts carries it, so that a word from
// an earlier life is refused. A pid is 32 bits: the top 16 are the number of the host in whose name space
// the pid was given (its home), 0 meaning "this host"; the bottom 16 are that host's own pid.
//
// Trap: pid_t is signed and futex words need two bits, so host numbers stay under 16384.
package names
