package semantics

// builders: programs that spread what they are told to run.
var builders = map[string]Case{
	"make/recipes in parallel": command(`
printf 'all: a b c d\n%%: ; @$(PY) -c "open(\\"$@.out\\", \\"w\\").write(\\"$@\\")"\nPY = /usr/bin/python3 -S\nlast: all ; @cat a.out b.out c.out d.out; echo\n' > Makefile
`, "make", "-s", "-j4", "last"),
	"make/a recipe fails": command(`
printf 'all: bad\nbad: ; @/usr/bin/python3 -S -c "import sys; sys.exit(7)"\n' > Makefile; printf 'import sys; sys.exit(7)\n' > e.py
`, "sh", "-c", "make -j2 2>&1; echo $?"),
	"make/a recipe is killed": command(`
printf 'all: bad\nbad: ; @/usr/bin/python3 -S -c "import os; os.kill(os.getpid(), 11)"\n' > Makefile
`, "sh", "-c", "ulimit -c 0; make -j2 2>&1; echo $?"),
	"make/-k and -i": command(`
printf 'all: a b c\na c: ; @/usr/bin/python3 -S -c "print(\\"$@\\")"\nb: ; @/usr/bin/python3 -S -c "import sys; sys.exit(3)"\n' > Makefile
`, "sh", "-c", "make -k -j1 2>&1; echo $?; make -i -j1 2>&1; echo $?"),
	"make/is interrupted": command(`
printf 'all: a b\n%%: ; @: > $@; exec /usr/bin/perl -e "sleep 100"\n.PHONY: all\n' > Makefile
printf '. $SEM_LIB/sem.sh\nset -m; make -s -j2 2>/dev/null & p=$!; until_ "test -e a -a -e b"; kill -INT -- -$p; wait $p; case $? in 2|130) echo interrupted ;; *) echo $? ;; esac; ls a b 2>/dev/null\n' > it.sh
`, "bash", "-c", "trap - INT; . ./it.sh 2>/dev/null"), // 2: the signal came within its own wait; natively too, on a busy machine
	"make/sub-makes and the jobserver": command(`
mkdir sub; printf 'all: x y\nx y: ; @+$(MAKE) -s -C sub $@\n' > Makefile; printf 'x y: ; @/usr/bin/python3 -S -c "open(\\"$@.out\\", \\"w\\").write(\\"$@\\")"\n' > sub/Makefile
`, "sh", "-c", "make -s -j3; echo $?; cat sub/x.out sub/y.out"),
	"make/environment and MAKEFLAGS": command(`
printf 'export A = from make\nall: ; @/usr/bin/python3 -S -c "import os; print(os.environ[\\"A\\"], os.environ[\\"MAKELEVEL\\"], \\"j2\\" in os.environ[\\"MAKEFLAGS\\"])"\n' > Makefile
`, "make", "-s", "-j2"),
	"make/.ONESHELL, SHELL and .SHELLFLAGS": command(`
printf 'SHELL = /usr/bin/python3\n.SHELLFLAGS = -S -c\n.ONESHELL:\nall:\n\t@import os\n\tx = 5\n\tprint(x, os.path.basename(os.getcwd()) != "")\n' > Makefile
`, "make", "-s"),
	"make/output in order": command(`
printf 'all: a b c\na b c: ; @/usr/bin/python3 -S -c "print(\\"$@ 1\\"); print(\\"$@ 2\\")"\n' > Makefile
`, "sh", "-c", "make -s -j3 -Otarget | sort"),
	"make/compiles": command(`
for i in 1 2 3 4 5 6; do printf 'int f%d(void) { return %d; }\n' $i $i > f$i.c; done; printf '#include <stdio.h>\nint f1(void), f2(void), f3(void), f4(void), f5(void), f6(void);\nint main(void) { printf("%%d\\n", f1() + f2() + f3() + f4() + f5() + f6()); return 0; }\n' > m.c
printf 'prog: m.o f1.o f2.o f3.o f4.o f5.o f6.o\n\tgcc -o $@ $^\n%%.o: %%.c\n\tgcc -O -c -o $@ $<\n' > Makefile
`, "sh", "-c", "make -s -j6 && ./prog; make -q; echo $?"),
	"xargs/-P and its statuses": command(`seq 1 20 > in`, "bash", "-c", `
xargs -a in -P 4 -n 1 /usr/bin/python3 -S -c 'import sys; print(int(sys.argv[1]) * 2)' | sort -n | tr '\n' ' '; echo
xargs -a in -P 4 -n 1 /usr/bin/python3 -S -c 'import sys; sys.exit(int(sys.argv[1]) % 2)'; echo $?
xargs -a in -P 4 -n 5 /usr/bin/python3 -S -c 'import sys; sys.exit(255)' 2>/dev/null; echo $?
xargs -a in -P 4 -n 5 /usr/bin/python3 -S -c 'import os; os.kill(os.getpid(), 9)' 2>/dev/null; echo $?
xargs -a in -P 4 -n 5 /no/such 2>/dev/null; echo $?`),
	"xargs/signals change -P": command(`seq 1 6 > in`, "bash", "-c", `
. $SEM_LIB/sem.sh
xargs -a in -P 2 -n 1 /usr/bin/python3 -S -c 'from kid import *; open("up" + sys.argv[1], "w"); until(lambda: os.path.exists("go"))' & p=$!
until_ 'test $(ls up* 2>/dev/null | wc -l) = 2'; kill -USR1 $p; until_ 'test $(ls up* | wc -l) = 3'; kill -USR1 $p; until_ 'test $(ls up* | wc -l) = 4'; : > go; wait $p; echo $? $(ls up* | wc -l)`),
	"xargs/standard input": command(`seq 1 3 > in; echo line > in2`, "bash", "-c", `
xargs -a in -P 2 -n 1 /usr/bin/python3 -S -c 'import sys; print(sys.argv[1], repr(sys.stdin.read()))' < /dev/null | sort; printf '1\n2\n' | xargs -P 2 -I{} /usr/bin/python3 -S -c 'import sys; print("{}", repr(sys.stdin.read()))' | sort
XARGS=1 xargs -P 2 --process-slot-var=SLOT -n 1 -a in /usr/bin/python3 -S -c 'import os; print(os.environ["SLOT"] in "01")' | sort`),
	"parallel/output, statuses, order": command(``, "bash", "-c", `
export HOME=$SEM_DIR PARALLEL_HOME=$SEM_DIR; mkdir -p .parallel; : > .parallel/will-cite
parallel -k -j4 /usr/bin/python3 -S -c '"import sys; print(int(sys.argv[1]) * 3)"' ::: 1 2 3 4 5 6; parallel -j3 /usr/bin/python3 -S -c '"import sys; sys.exit(int(sys.argv[1]))"' ::: 0 1 2 3; echo $?`),
	"parallel/--halt kills the others": command(``, "bash", "-c", `
export HOME=$SEM_DIR PARALLEL_HOME=$SEM_DIR; mkdir -p .parallel; : > .parallel/will-cite
parallel -j3 --halt now,fail=1 /usr/bin/python3 -S -c '"import sys, time; sys.exit(5) if sys.argv[1] == \"2\" else time.sleep(100)"' ::: 1 2 3 2>/dev/null; echo $?`),
	"parallel/--timeout and joblog": command(``, "bash", "-c", `
export HOME=$SEM_DIR PARALLEL_HOME=$SEM_DIR; mkdir -p .parallel; : > .parallel/will-cite
parallel -j2 --timeout 1 --joblog log /usr/bin/python3 -S -c '"import sys, time; time.sleep(int(sys.argv[1]))"' ::: 0 100 2>/dev/null; echo $?; sort -n log | cut -f 7,8 | tail -n 2`),
}
