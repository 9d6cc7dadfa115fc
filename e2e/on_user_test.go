package e2e_test

import (
	"strings"
	"testing"
)

// TestOnUser: on another host a user is who he is here, by number, and may do what such a user may do there, and no more than here.
func TestOnUser(t *testing.T) {
	c := cluster(t, 2)
	h1, h2 := job{host: c.Host("h1")}, job{host: c.Host("h2")}
	h1.must(t, people+`useradd -u 3333 -m carol; install -d -m 777 /srv/open; install -d -m 700 -o alice /srv/alice; install -d -m 700 /srv/root; echo 'ALICE=1' > /dev/null`)
	h2.must(t, people+`install -d -m 777 /srv/open; install -d -m 700 -o alice /srv/alice; install -d -m 700 /srv/root; chsh -s /bin/sh alice;
		install -m 4755 $(command -v id) /usr/local/bin/suid-id; mkdir -p /home/alice/bin; printf '#!/bin/sh\necho mine\n' > /home/alice/bin/tool; chmod 755 /home/alice/bin/tool`)
	alice := job{host: h1.host, user: "alice", dir: "/srv/open", env: []string{"HOME=/home/alice"}}
	for _, k := range []struct{ name, script, want string }{
		{"who", `id > /tmp/id; onehost on h2 id | cmp - /tmp/id && onehost on h1 id | cmp - /tmp/id && onehost on h2 id -nG`, "alice team\n"},
		{"what may not be", `onehost on h2 sh -c 'cat /etc/shadow; ls /root; cat /home/bob/secret; echo x > /etc/nope; kill -0 1' 2>&1 | grep -c -e denied -e permitted`, "5\n"},
		{"what may", `onehost on h2 sh -c 'echo x > own; stat -c "%U %G %a" own; echo y > /srv/team/f && stat -c "%U %G" /srv/team/f'`, "alice alice 644\nalice team\n"},
		{"no capabilities", `onehost on h2 grep -E '^Cap(Inh|Prm|Eff|Amb)|^NoNew' /proc/self/status | tr -d '\t\n'`, "CapInh:0000000000000000CapPrm:0000000000000000CapEff:0000000000000000CapAmb:0000000000000000NoNewPrivs:0"},
		{"its environment", `onehost on h2 sh -c 'echo $USER $LOGNAME $HOME $SHELL'`, "alice alice /home/alice /bin/sh\n"},
		{"descriptors by name", `onehost on h2 sh -c 'cat /dev/stdin > /dev/stdout; echo e > /dev/stderr' <<< x 2>&1 | sort -r`, "x\ne\n"},
		{"a directory that is hers", `cd /srv/alice && onehost on h2 pwd`, "/srv/alice\n"},
		{"a directory that she may not enter there", `mkdir -p /tmp/d/e && cd /tmp/d/e && onehost on h2 pwd`, "/home/alice\n"},
		{"set-uid there", `onehost on h2 suid-id -u`, "0\n"},
		{"set-uid, without new privileges", `test $(setpriv --no-new-privs onehost on h2 suid-id -u) = $(id -u) && echo the same`, "the same\n"},
		{"a terminal of hers", `script -qec "onehost on -t h2 sh -c 'stat -c %U:%a \$(tty); echo x > /dev/tty'" /dev/null | tr -d '\r^@'`, "alice:620\nx\n"},
		{"not another's command", `onehost on h2 kill -0 $(onehost on h2 pgrep -x onehostd) 2>&1 | grep -c permitted`, "1\n"},
		{"what runs in a session", `onehost run -q --local sh -c 'onehost on h2 grep NoNewPrivs /proc/self/status; onehost on h2 id -un; true' | tr -d '\t'`, "NoNewPrivs:1\nalice\n"},
	} {
		if r := alice.sh(t, k.script); r.out != k.want {
			t.Errorf("%s: want %q: %v", k.name, k.want, r)
		}
	}
	for _, k := range []struct {
		name, script, want string
		status             int
	}{
		{"a user whom the host does not know", `setpriv --reuid 3333 --regid 3333 --clear-groups onehost on h2 sh -c 'id -u; id -g; id -G; echo $USER $HOME $SHELL; pwd'`, "3333\n3333\n3333\n3333 / /bin/sh\n/\n", 0},
		{"groups as they are here", `setpriv --reuid alice --regid alice --groups 7,4444 onehost on h2 sed -n 's/^Groups://p' /proc/self/status`, "\t7 4444 \n", 0},
		{"fewer capabilities", `setpriv --bounding-set -sys_admin,-net_admin onehost on h2 sh -c 'grep CapBnd /proc/self/status | tail -c 17; mount -t tmpfs none /mnt 2>/dev/null || echo no mount'`, capsOf(t, h1, `setpriv --bounding-set -sys_admin,-net_admin`) + "no mount\n", 0},
		{"no capabilities", `setpriv --bounding-set -all onehost on h2 grep CapEff /proc/self/status | tail -c 17`, "0000000000000000\n", 0},
		{"set-uid, fewer capabilities", `setpriv --bounding-set -all --reuid alice --clear-groups onehost on h2 suid-id -u`, "0\n", 0},
		{"another root", `mkdir -p /srv/jail; mount --rbind / /srv/jail; chroot /srv/jail true && mount -t tmpfs none /srv/jail; mkdir -p /srv/jail/x; for d in usr bin lib lib64 run proc; do mkdir -p /srv/jail/$d; mount --rbind /$d /srv/jail/$d; done; chroot /srv/jail onehost on h2 true 2>&1; s=$?; umount -R -l /srv/jail; exit $s`, "onehost: on h2: a program in another root cannot start commands on hosts: it would leave its confinement\n", 125},
		{"another user name space", `unshare -U -r onehost on h2 true 2>&1`, "onehost: on h2: a program in another user name space cannot start commands on hosts: it would leave its confinement\n", 125},
		{"another mount name space", `unshare -m onehost on h2 uname -n`, "h2\n", 0},
	} {
		if r := h1.sh(t, k.script); r.out != k.want || r.status != k.status {
			t.Errorf("%s: want %q, status %d: %v", k.name, k.want, k.status, r)
		}
	}
	nothingLeft(t, c)
}

// capsOf gives what is left of the bounding set under a command, as /proc shows it.
func capsOf(t *testing.T, j job, under string) string {
	t.Helper()
	return strings.TrimSpace(j.must(t, under+` grep CapBnd /proc/self/status | tail -c 17`)) + "\n"
}
