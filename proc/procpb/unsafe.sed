# Undo the generator's use of unsafe, which saves one copy of the descriptor at start.
/unsafe "unsafe"/d
s/unsafe\.Slice(unsafe\.StringData(\([A-Za-z_]*\)), len([A-Za-z_]*))/[]byte(\1)/
