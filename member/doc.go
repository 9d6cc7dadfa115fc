// Package member says who is in the cluster: a replicated registry of hosts, a failure detector, and the way in and out.
//
// Terms. The registry is a log of Commands, applied in one order by State, which makes the sequence of Views; all hosts see
// the same sequence. A voter is a host that holds a copy of the registry (raft); the others watch: they ask a voter for what
// comes after the last view they saw, and the answer waits until there is something. A life is one incarnation of a host. A
// life may go on with the one before it, if a daemon was started again on the same boot of its host: then they have a birth in common, the incarnation that was
// the first of them. A host counts its lives itself, in its state directory, before anybody hears of the new one; so a host that restarts needs
// nobody's leave to talk, and a word from an earlier life is known for what it is. A beat is a heartbeat, with an opaque load.
//
// The registry and liveness are apart. Liveness (a pure core, as State is) finds within 0.5 to 0.7 s that a host is silent: a
// majority of the host's monitors says so in their beats. A host that noticed that it stood still itself, or that hears
// nobody, accuses nobody; one whose kernel shows signs of life has until the end of patience. The registry's leader asks its
// quorum and then records the failure.
//
// The leader says in its beats that it leads. When no voter that is heard does, the voters stand for election by turns (seat),
// at once if the leader is silent. Raft's own timeouts are long, because its messages wake up both ends for ever; and since
// its followers are told only with these which entries count, voters watch the leader as all others do.
//
// An idle daemon costs what its waking up costs. What is due at regular times belongs on the heart's tick, not on one more timer.
//
// Voters. Up to 2 hosts: 1 voter; 3 to 8: 3; above: 5. With two voters the death of either would stop the registry, with one
// only that of the one: so of two hosts the first (or the one left when a third goes) is the voter. If it dies, the other
// keeps its last view, in which nothing changes until the voter is back: no host is recorded as failed, joins or leaves. The
// same holds when a majority of three or five voters die within the same second. Sight tells those above whom this host hears
// meanwhile, and links to a host that is silent past all patience are ended. A voter that fails, drains or leaves is
// replaced at once while the quorum holds. The key of the cluster's authority and the join token are in the registry, so every
// voter can admit a host, and voters must be trusted with it.
//
// Fencing. When a view says that a life is over, its connections are closed, and its hello is refused. A hello of a later life
// than the view knows is admitted: its certificate vouches for it and the view is merely behind. A host that is declared
// failed while it lives (a partition, a long pause) is refused by all; it asks for the view by the join protocol, with its
// certificate, and begins a new life. To those above that is a death: what the old life did elsewhere has been ended.
//
// Joining. The token names the cluster's authority and holds a secret. The joiner checks the listener's certificate against
// it before it says anything, and proves the secret by an HMAC bound to the TLS session. Any member passes the request on to
// the leader. A name in use by a host that is up is refused; a failed or left host of the name gives it up together with its
// number, and its certificate opens nothing any more. Numbers are never given twice.
//
// Lock order: Member.change, life.standing, heart.mu, life.mu, Member.mu, subscriber.mu; quorum.mu is taken last and alone.
//
// Traps. life.publish runs on raft's goroutine: it must not wait for raft, nor for the end of a life (Member.later does that).
// raft.NewRaft publishes the snapshot's view before it returns. View right after Open is the one saved on disk:
// Ready waits for one that knows this life. A host that joined is given 2 s for its first beat, so a crash in
// that time is known that much later. Two Members of one process must not share a Router.
package member
