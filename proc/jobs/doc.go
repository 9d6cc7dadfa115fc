// Package jobs is the daemon's part in a remote process: the home's end and the helper's end of one stream.
//
// Terms. A job is one process sent elsewhere with all its descendants there. Its image is what the home read of it at its
// exec: arguments, environment, credentials, limits, descriptors. A session is one `onehost run`; the control
// connection that opened it is its life, or the next one, by which it is resumed when the home's daemon has been started again. Home is where the process was born, the helper where it runs.
//
// The home (Home) answers the control socket: it reads the image from /proc, so that a caller can claim nothing, keeps
// it until the job has ended so that it can begin again on another host, and passes orders and events between the session
// and the helper. The helper (Helper) keeps one nest for each home and runs jobs in it. It is in a process of its own, the helper's carrier
// of that home (package carrier), so that it outlives the helper's daemon; HomeConfig.Carriers gives the links to it.
//
// A job outlives its stream. The helper keeps one (hosted) whose connection to the home has ended; the home, or the home's next daemon at the word of the
// session, takes it up by another stream, and the state of the job is told again. A home that ends a stream while the connection
// lives wants the end of the job or, if that has ended, has handed on how. A daemon that ends leaves its streams alone (Home.Stop). The home waits longer
// for a helper than the helper keeps a job, so that none runs twice.
//
// Order at the end of a job, on which make relies: its output has been forwarded, its writes are at the home, the
// descriptors the home kept for it are closed; then the status is told.
//
// A run that is stopped cannot pass on that its ghosts are: the home looks at the runs that have jobs elsewhere, four times a second,
// and stops the jobs in their place.
//
// A process of a job knows its parent, group and session by their numbers at home: they come with the image, and another parent comes as an order.
// What it asks of processes that are not in its nest, HelperConfig.Call carries out.
//
// What jobs leave running when they end, daemons and background processes, lives as long as their session, as at home.
//
// Locks: Home.mu, Helper.mu, Broker.mu and hosted.mu are leaves; nothing blocks under them. leg.mu is held while an order is sent.
package jobs
