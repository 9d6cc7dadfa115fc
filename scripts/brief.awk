#!/usr/bin/awk -f
# Of go test -v's output, shows what a reader needs: failures with what they printed, skips, and the closing line of
# each package.
function flush(   i) { for (i = 0; i < held; i++) print hold[i]; held = 0 }

/^=== RUN|^=== PAUSE|^=== CONT|^=== NAME/ { next }
/^[ ]*--- PASS/                           { held = 0; next }
/^[ ]*--- FAIL/                           { flush(); print; fflush(); next }
/^[ ]*--- SKIP/                           { flush(); print; fflush(); next }
/^PASS$/                                  { held = 0; next }
/^(ok|FAIL|\?|panic:|---|WARNING: DATA RACE|#)/ { flush(); print; fflush(); next }
                                          { hold[held++] = $0 }
END                                       { flush() }
