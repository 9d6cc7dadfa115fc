package e2e_test

import (
	"strings"
	"testing"
)

// warners makes a directory of so many C files that warn, with a Makefile.
const warners = `
warners() {
	mkdir -p "$1" && cd "$1" || exit
	for i in $(seq $2); do
		echo "#include <stdio.h>
#include <math.h>
int f$i(int a) { int unused; double d = a; for (int k = 0; k < a; k++) d += sin(d) * k; return printf(\"%f\", d); }" > f$i.c
	done
	printf 'all: $(patsubst %%.c,%%.o,$(wildcard f*.c))\n%%.o: %%.c\n\tgcc -O2 -Wall -c -o $@ $<\nclean:\n\trm -f *.o\n' > Makefile
}
`

// people makes two ordinary users and a group that one of them is in.
const people = `
useradd -m -s /bin/bash alice && useradd -m -s /bin/bash bob && groupadd team && usermod -aG team alice &&
	mkdir -p /srv/team && chgrp team /srv/team && chmod 2770 /srv/team && echo secret > /home/bob/secret && chmod 600 /home/bob/secret
`

// rights is a Makefile that tries what its user may do and may not.
const rights = `cat > rights.mk <<'M'
all: who shadow root etc bob dir own team give caps home
who: ; @id
shadow: ; -@cat /etc/shadow
root: ; -@ls /root
etc: ; -@echo x > /etc/nope
bob: ; -@cat /home/bob/secret
dir: ; -@mkdir /home/bob/x
own: ; @touch own.txt; stat -c '%U %G %a %s' own.txt
team: ; @echo x > /srv/team/f; stat -c '%U %G %a %s' /srv/team/f; rm /srv/team/f
give: ; -@chown bob own.txt
caps: ; @grep -E '^(Cap|Groups|Uid|Gid)' /proc/self/status | tr '\n' ' '; echo
home: ; @echo $$HOME; umask; ulimit -n -s -c
M
`

// TestUser: a session of an ordinary user builds on the other hosts, and what he may and may not do is the same there.
func TestUser(t *testing.T) {
	c := cluster(t, 3)
	h1 := c.Hosts()[0]
	job{host: h1}.must(t, people+"chmod 700 /root")
	alice := job{host: h1, user: "alice", dir: "/home/alice", env: []string{"HOME=/home/alice"}}

	alice.must(t, warners+`warners native 8 && cp -r . ../remote && make >/dev/null 2>&1`)
	out := alice.must(t, `cd remote && onehost run --no-local make -j4 2>&1 | tail -n 1; cd .. && diff -r native remote && stat -c '%U %G' remote/*.o | sort -u`)
	if !strings.Contains(out, "8 remote") && !strings.Contains(out, "9 remote") || !strings.HasSuffix(out, "\nalice alice\n") {
		t.Errorf("a build: %q", out)
	}

	native := alice.must(t, rights+`make -k -f rights.mk 2>&1`)
	remote := alice.must(t, `onehost run --no-local -q make -k -f rights.mk 2>&1`)
	if native != remote {
		t.Errorf("native:\n%s\nremote:\n%s", native, remote)
	}
	where := alice.sh(t, `onehost run --explain --no-local make -k -f rights.mk 2>&1 >/dev/null | grep -c '^h[23] '`)
	if strings.TrimSpace(where.out) != "11" {
		t.Errorf("%s of 11 ran elsewhere", where.out)
	}
}
