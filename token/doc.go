// Package token decides who may cache what of a tree: a pure state machine without goroutine, clock or socket. A step goes
// in (a wish, an answer, a death, a change made by the home itself), messages come out, and the caller carries them.
//
// Terms. An object is anything with an identity at the home; the table does not look inside its name. A holder is one view
// of the tree by one life of a host. A mode is what the holder may keep without asking:
//
//	NamesRead   names in a directory, the missing ones too
//	DataRead    attributes and data of a file
//	DataWrite   the same, and writes held back: at most one holder, and nobody else reads
//
// Readers are told to forget (Revoke) and are out at once, for dropping a clean copy cannot fail; the order of messages to
// one holder is the order of the changes. A writer has to answer (Recall, then Released), because what he holds exists
// nowhere else; a wish that needs it waits in line until he did, or died. Afterwards he is a reader.
//
// The home asks with the holder Home: it needs the writer's data but caches nothing that anybody would have to revoke.
package token
