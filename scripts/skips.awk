#!/usr/bin/awk -f
# Reads go test -v's output and fails when a test skipped for a reason that does not hold on this machine. A reason
# names what is missing: "needs root", "needs amd64", "needs /dev/fuse", "needs PROGRAM"; "needs CGO_ENABLED=0" holds if
# the same test passed in another run. Any other skip is a failure, as nobody can tell whether it was right.
function run(command) { return system(command " >/dev/null 2>&1") == 0 }

function missing(reason,   what) {
    if (reason ~ /needs root/)
        return !run("test $(id -u) = 0")
    if (reason ~ /needs (amd64|x86-64)/)
        return !run("test $(uname -m) = x86_64")
    if (match(reason, /needs CAP_[A-Z_]+/)) {
        what = tolower(substr(reason, RSTART + 6, RLENGTH - 6))
        return !run("capsh --has-p=" what)
    }
    if (match(reason, /needs \/[^ ,:;]+/)) {
        what = substr(reason, RSTART + 6, RLENGTH - 6)
        return !run("test -e '" what "'")
    }
    if (match(reason, /needs [a-z0-9.+-]+/)) {
        what = substr(reason, RSTART + 6, RLENGTH - 6)
        return !run("command -v '" what "'")
    }
    return 0
}

/^[ ]+[A-Za-z0-9_]+\.go:[0-9]+: / { said = $0; sub(/^[ ]+/, "", said) }
/^[ ]*--- SKIP: / {
    skipped++
    if (said ~ /needs CGO_ENABLED=0/)
        later[$3] = said
    else if (!missing(said))
        bad[++wrong] = $3 ": " said
    said = ""
}
/^[ ]*--- (PASS|FAIL): / { said = ""; ran[$3] = 1 }
END {
    for (test in later)
        if (!(test in ran))
            bad[++wrong] = test ": " later[test]
    for (i = 1; i <= wrong; i++)
        print "skipped, though this machine could run it: " bad[i]
    if (skipped)
        print skipped " skipped, " wrong + 0 " of them without a reason that holds here"
    exit wrong > 0
}
