package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// cProject writes a C project of n sources into a directory of the host: headers generated during the build and looked for before, a
// program of the build's own, temporary files, archives, links, a second make below the first.
func cProject(n int) string {
	return fmt.Sprintf(`set -e
rm -rf $dir; mkdir -p $dir/lib $dir/src; cd $dir
cat > Makefile <<'END'
CC = gcc
CFLAGS = -O1 -g -Isrc -Igen -MMD
N = %[1]d
SRC = $(foreach i,$(shell seq 1 $(N)),src/f$(i).c)
OBJ = $(SRC:.c=.o)
all: prog lib/libl.a sums
$(OBJ): gen/table.h gen/version.h
src/%%.o: src/%%.c ; $(CC) $(CFLAGS) -c -o $@ $<
probe: ; @if test -e gen/table.h; then echo early; exit 1; fi; ls src >/dev/null; touch $@
gen: probe ; mkdir gen
gentable: src/gentable.c ; $(CC) -O0 -o $@ $<
gen/table.h: gentable | gen ; ./gentable $(N) > $@.tmp && mv $@.tmp $@
gen/version.h: | gen ; t=$$(mktemp ./v.XXXXXX); echo '#define VERSION "'$$(cat src/version)'"' > $$t; chmod 644 $$t; mv -f $$t $@
lib/libl.a: gen/version.h FORCE ; $(MAKE) -C lib CFLAGS="$(CFLAGS:-I%%=-I../%%)"
prog: $(OBJ) lib/libl.a src/main.o ; rm -f all.a; ar rcs all.a $(OBJ); ranlib all.a; $(CC) -o $@ src/main.o all.a lib/libl.a
sums: prog ; ./prog > $@; for o in $(OBJ); do md5sum $$o; done | sort >> $@; ln -sf $@ link; ln -f $@ hard
src/main.o: gen/table.h gen/version.h
FORCE:
-include $(OBJ:.o=.d)
END
cat > lib/Makefile <<'END'
OBJ = a.o b.o c.o d.o
libl.a: $(OBJ) ; ar rcs $@ $^
%%.o: %%.c ; $(CC) $(CFLAGS) -c $<
END
for l in a b c d; do printf '#include <stdlib.h>\n#include "version.h"\nconst char *lib_%%s(void) { return VERSION; }\n' $l > lib/$l.c; done
echo 1.2.3 > src/version
cat > src/gentable.c <<'END'
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) { int n = atoi(argv[1]); for (int i = 1; i <= n; i++) printf("int f%%d(int);\n#define K%%d %%d\n", i, i, i * i %% 97); return 0; }
END
for i in $(seq 1 %[1]d); do cat > src/f$i.c <<END
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include "table.h"
#include "version.h"
int f$i(int x) { char b[64]; snprintf(b, sizeof b, "%%d %%s", x + K$i, VERSION); for (int i = 0; i < (int)strlen(b); i++) x = x * 31 + b[i]; return x; }
END
done
{ echo '#include <stdio.h>'; echo '#include "table.h"'; echo 'const char *lib_a(void); int main(void) { int x = 1;'
for i in $(seq 1 %[1]d); do echo "x = f$i(x);"; done; echo 'printf("%%d %%s\n", x, lib_a()); return 0; }'; } > src/main.c
`, n)
}

// digest lists everything of a tree with its content.
const digest = `cd $dir && find . -type f ! -name '*.d' -exec md5sum {} + | LC_ALL=C sort -k 2; find . ! -type f -printf '%p %y %m %l\n' | LC_ALL=C sort`

// summary is the line at the end of a run.
type summary struct {
	total, remote, local int
	reasons              int
	line                 string
}

func parseSummary(t *testing.T, errs string) summary {
	t.Helper()
	for line := range strings.Lines(errs) {
		var s summary
		if n, _ := fmt.Sscanf(line, "%d jobs: %d remote, %d local", &s.total, &s.remote, &s.local); n != 3 {
			if n, _ = fmt.Sscanf(line, "%d job: %d remote, %d local", &s.total, &s.remote, &s.local); n != 3 {
				continue
			}
		}
		s.line = strings.TrimSpace(line)
		if _, list, ok := strings.Cut(s.line, "local ("); ok {
			list, _, _ = strings.Cut(list, ")")
			for part := range strings.SplitSeq(list, ", ") {
				var n int
				_, _ = fmt.Sscanf(part, "%d", &n)
				s.reasons += n
			}
		}
		return s
	}
	t.Fatalf("no summary in %q", brief(errs))
	return summary{}
}

// builder builds one project in h1, again and again.
type builder struct {
	job  job
	want string // digest of the native build
	prep string
}

func newBuilder(t *testing.T, j job, sources int) *builder {
	t.Helper()
	b := &builder{job: j, prep: cProject(sources)}
	b.job.env = append(b.job.env, "dir=/home/project", "SOURCE_DATE_EPOCH=1700000000")
	b.job.limit = 3 * time.Minute
	b.fresh(t)
	b.job.must(t, `cd $dir && make -s -j4`)
	b.want = b.digest(t)
	return b
}

func (b *builder) fresh(t *testing.T) { t.Helper(); b.job.must(t, b.prep) }

func (b *builder) digest(t *testing.T) string { t.Helper(); return b.job.must(t, digest) }

// check compares what a build left with the native one.
func (b *builder) check(t *testing.T) {
	t.Helper()
	if got := b.digest(t); got != b.want {
		t.Errorf("the build differs:\n%s", difference(b.want, got))
	}
}

func difference(want, got string) string {
	have := map[string]int{}
	for line := range strings.Lines(want) {
		have[line]--
	}
	for line := range strings.Lines(got) {
		have[line]++
	}
	var d strings.Builder
	for line, n := range have {
		if n < 0 {
			d.WriteString("- " + line)
		} else if n > 0 {
			d.WriteString("+ " + line)
		}
	}
	return brief(d.String())
}

func TestBuild(t *testing.T) {
	c := cluster(t, 4)
	b := newBuilder(t, job{host: c.Host("h1")}, 40)
	for _, flags := range []string{"", "--no-local", "--slots 0", "--hosts h3"} {
		t.Run("flags "+flags, func(t *testing.T) {
			b.fresh(t)
			r := b.job.sh(t, `cd $dir && onehost run `+flags+` make -s -j8`)
			if r.status != 0 {
				t.Fatal(r)
			}
			b.check(t)
			s := parseSummary(t, r.err)
			t.Log(s.line)
			if s.total != s.remote+s.local || s.local != s.reasons {
				t.Errorf("the summary does not add up: %s", s.line)
			}
			if s.remote < 20 {
				t.Errorf("only %d jobs were remote: %s", s.remote, s.line)
			}
			if flags == "--hosts h3" && (strings.Contains(s.line, "h2 ") || strings.Contains(s.line, "h4 ")) {
				t.Errorf("--hosts h3 used others: %s", s.line)
			}
		})
	}
	t.Run("local", func(t *testing.T) {
		b.fresh(t)
		r := b.job.sh(t, `cd $dir && onehost run --local make -s -j2`)
		if r.status != 0 {
			t.Fatal(r)
		}
		b.check(t)
		if s := parseSummary(t, r.err); s.remote != 0 || s.total != s.local || s.local != s.reasons {
			t.Errorf("%s", s.line)
		}
	})
	t.Run("a second build does nothing", func(t *testing.T) {
		r := b.job.sh(t, `cd $dir && make -q prog; echo $?; onehost run -q --no-local make prog`)
		if r.status != 0 || !strings.Contains(r.out, "up to date") {
			t.Error(r)
		}
	})
	t.Run("a recipe that fails", func(t *testing.T) {
		b.job.must(t, `cd $dir && echo 'int broken(' > src/f7.c`)
		native := b.job.sh(t, `cd $dir && rm -f src/*.o && make -s -k -j4`)
		r := b.job.sh(t, `cd $dir && rm -f src/*.o && onehost run -q --no-local make -s -k -j8`)
		if r.status != native.status || r.status != 2 {
			t.Errorf("native %v\nonehost %v", native, r)
		}
		if strings.Count(r.err, "error:") != strings.Count(native.err, "error:") {
			t.Errorf("a command's own failure was run again or lost: native %v\nonehost %v", native, r)
		}
	})
}
