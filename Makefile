# What is usually wanted:
#   make            build ./bin/onehost and ./bin/onehostd, static
#   make demo       four hosts on this machine build a real project together
#   make test       every test this machine can run
#   make soak       half an hour of random process operations on hosts that fail, checked against a model
#   make check      everything else that has to hold before a commit
#   make bench      the measurements of docs/benchmarks.md
#   make install    PREFIX=/usr/local, DESTDIR for packagers

PREFIX     ?= /usr/local
SYSTEMDDIR ?= /lib/systemd/system
GO         ?= go
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

GOFLAGS_BUILD := -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'
TOOLS         := $(CURDIR)/bin/tools
MAN           := $(wildcard man/*.[1-9])

# Versions of the tools that judge the tree; a newer one may find more, and is a change like any other.
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOFUMPT       := mvdan.cc/gofumpt@v0.12.0
DEADCODE      := golang.org/x/tools/cmd/deadcode@v0.52.0

.PHONY: all build install uninstall demo test soak bench lint fmt man check vet format floors length dead clean
.DELETE_ON_ERROR:

all: build

build:
	CGO_ENABLED=0 $(GO) build $(GOFLAGS_BUILD) -o bin/ ./cmd/onehost ./cmd/onehostd

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(SYSTEMDDIR)
	install -m 755 bin/onehost $(DESTDIR)$(PREFIX)/bin/
	install -m 755 bin/onehostd $(DESTDIR)$(PREFIX)/sbin/
	sed 's|@SBINDIR@|$(PREFIX)/sbin|' contrib/onehostd.service.in > bin/onehostd.service
	install -m 644 bin/onehostd.service $(DESTDIR)$(SYSTEMDDIR)/
	for page in $(MAN); do \
	    dir=$(DESTDIR)$(PREFIX)/share/man/man$${page##*.}; \
	    install -d $$dir && install -m 644 $$page $$dir/ || exit 1; \
	done

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/onehost $(DESTDIR)$(PREFIX)/sbin/onehostd $(DESTDIR)$(SYSTEMDDIR)/onehostd.service
	for page in $(MAN); do rm -f $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page#man/}; done

demo: build
	scripts/demo.sh

test: build
	scripts/test.sh

soak:
	scripts/soak.sh

bench: build
	scripts/bench/all.sh

check: vet lint format floors length man dead

# arm64 has to compile, tests too; what is missing there says so when it runs.
vet:
	$(GO) vet ./...
	GOARCH=arm64 CGO_ENABLED=0 $(GO) vet ./...

lint: $(TOOLS)/golangci-lint
	$(TOOLS)/golangci-lint run ./...

format: $(TOOLS)/gofumpt
	@out=$$($(TOOLS)/gofumpt -l .); test -z "$$out" || { echo "not formatted ('make fmt' mends it):"; echo "$$out"; exit 1; }

fmt: $(TOOLS)/golangci-lint
	$(TOOLS)/golangci-lint fmt ./...

floors:
	$(GO) test -count=1 -run TestFloors .

# 500 lines are the most a file may have; generated ones do not count.
length:
	@find . -name '*.go' ! -name '*.pb.go' ! -path './bin/*' ! -path './.git/*' -exec awk \
	    'FNR == 501 { print FILENAME ": over 500 lines"; bad = 1 } END { exit bad }' {} +

man:
	scripts/packages.sh mandoc
	mandoc -T lint -W warning $(MAN)

# Functions that neither a program nor a test can reach.
dead: $(TOOLS)/deadcode
	@out=$$($(TOOLS)/deadcode -test ./...) || exit 1; test -z "$$out" || { echo "$$out"; exit 1; }

$(TOOLS)/golangci-lint:
	CGO_ENABLED=0 GOBIN=$(TOOLS) GOFLAGS= $(GO) install $(GOLANGCI_LINT)
$(TOOLS)/gofumpt:
	CGO_ENABLED=0 GOBIN=$(TOOLS) GOFLAGS= $(GO) install $(GOFUMPT)
$(TOOLS)/deadcode:
	CGO_ENABLED=0 GOBIN=$(TOOLS) GOFLAGS= $(GO) install $(DEADCODE)

clean:
	rm -rf bin dist
