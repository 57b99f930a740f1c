# SPDX-License-Identifier: MIT
# Plain GNU make, no configure step. Directories, compiler and flags may be given.

PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc
LIBEXECDIR ?= $(PREFIX)/libexec
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/nsbox
COMPLETIONS ?= $(PREFIX)/share/bash-completion/completions
# systemd looks in /usr/local/lib too; elsewhere the file is of no consequence. Empty: none.
SYSTEMDUNITDIR ?= $(PREFIX)/lib/systemd/system
# The same of systemd-networkd and udev: they leave the links of boxes alone.
NETWORKDIR ?= $(PREFIX)/lib/systemd/network
UDEVRULESDIR ?= $(PREFIX)/lib/udev/rules.d
MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)
PAMDIR ?= $(if $(MULTIARCH),/lib/$(MULTIARCH)/security,/lib/security)
BUILD ?= build
PKG_CONFIG ?= pkg-config
SCDOC ?= scdoc

# A build directory remembers what it was made with, so that `make install BUILD=...`
# installs that and does not make it anew.
-include $(BUILD)/settings.mk

# make WERROR=1, SAN=address,undefined, WITHOUT=<a name in pam_nsbox/defence.h>
WERROR ?=
SAN ?=
WITHOUT ?=
SAN_ENV := ASAN_OPTIONS=detect_leaks=0

# make V=1 shows the commands.
V ?=
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wshadow -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes \
	-Wcast-qual -Wpointer-arith -Wundef -Wvla -Wwrite-strings -Wimplicit-fallthrough \
	$(if $(WERROR),-Werror)
HARDENING := -fstack-protector-strong -fstack-clash-protection \
	$(if $(SAN),,-D_FORTIFY_SOURCE=2)
SANITIZE := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
PATHS := -DNSBOX_KEEPER_PATH='"$(LIBEXECDIR)/nsbox-keeper"' \
	-DNSBOX_NET_PATH='"$(LIBEXECDIR)/nsbox-net"' -DNSBOX_POLICY_DIR='"$(SYSCONFDIR)/nsbox"'
INCLUDES := -Ipam_nsbox -Ihelper/policy -Ihelper/lib -Ihelper/box -Ihelper/keeper -Ihelper/pam -Ihelper/cli \
	-Ihelper/net -I$(BUILD)/filter
OWN_CFLAGS := -std=gnu11 -D_GNU_SOURCE -fPIC -fvisibility=hidden $(WARNINGS) $(HARDENING) \
	$(SANITIZE) $(INCLUDES) $(PATHS) $(if $(WITHOUT),-DNSBOX_WITHOUT=$(WITHOUT)) -MMD -MP
MODULE_LDFLAGS := -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed
MODULE_SANITIZE := $(if $(findstring undefined,$(SAN)),-fsanitize=undefined \
	-fsanitize-undefined-trap-on-error)
OWN_LDFLAGS := $(MODULE_LDFLAGS) $(SANITIZE)

# What the module consists of; the part without PAM is also nsbox(1)'s way into a box.
POLICY := $(wildcard helper/policy/*.c)
LIB := $(wildcard helper/lib/*.c)
CLIENT := $(filter-out pam_nsbox/pam_nsbox.c,$(wildcard pam_nsbox/*.c)) $(POLICY) $(LIB)
MODULE := $(wildcard pam_nsbox/*.c) $(POLICY) $(LIB)
SHARED := pam_nsbox/error.c pam_nsbox/proto.c pam_nsbox/ns.c \
	pam_nsbox/deprivilege.c pam_nsbox/identity.c pam_nsbox/answer.c \
	pam_nsbox/pidfd.c pam_nsbox/block.c
# As a guest in another user's box (net = join:USER) the keeper is a caller, too.
GUEST := pam_nsbox/client.c pam_nsbox/caller.c pam_nsbox/join.c pam_nsbox/spawn_keeper.c
KEEPER := $(SHARED) $(GUEST) $(POLICY) $(LIB) $(wildcard helper/box/*.c) $(wildcard helper/keeper/*.c)
NET := pam_nsbox/error.c $(LIB) helper/keeper/nft.c $(wildcard helper/net/*.c)
# explain and doctor ask the kernel by the keeper's own code.
ASKS := $(addprefix helper/box/,hierarchy.c idmap.c plan.c tree.c userns.c) \
	$(addprefix helper/keeper/,device.c env.c idmapped.c image.c nft.c notes.c places.c)
CLI := $(CLIENT) $(ASKS) $(wildcard helper/pam/*.c) $(wildcard helper/cli/*.c)

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))

.SECONDARY:

# The manual pages, docs/man/NAME.SECTION.scd: left out where there is no scdoc.
PAGES := $(patsubst docs/man/%.scd,%,$(wildcard docs/man/*.scd))
MAN := $(addprefix $(BUILD)/man/,$(PAGES))
HAVE_MAN := $(if $(shell command -v $(SCDOC)),$(MAN))
EXAMPLES := $(wildcard conf/examples/*)
# Where a page is installed, from its name: man1/nsbox.1
place_of_page = $(MANDIR)/man$(patsubst .%,%,$(suffix $(1)))/$(1)

all: $(BUILD)/pam_nsbox.so $(BUILD)/nsbox-keeper $(BUILD)/nsbox-net $(BUILD)/nsbox $(HAVE_MAN)

.PHONY: man
man: $(MAN)

# The date of a page is that of its last change, unless the packager gives one.
$(BUILD)/man/%: docs/man/%.scd
	@mkdir -p $(@D)
	$(call say,MAN,$@)
	$(Q)SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(stat -c %Y $<)} $(SCDOC) < $< > $@.new
	$(Q)mv $@.new $@

MODULE_OBJECTS := $(patsubst %.c,$(BUILD)/module/%.o,$(MODULE))

$(BUILD)/pam_nsbox.so: $(MODULE_OBJECTS) pam_nsbox/module.map
	$(call say,LINK,$@)
	$(Q)$(CC) -shared $(MODULE_LDFLAGS) $(LDFLAGS) -Wl,--no-undefined \
		-Wl,--version-script=pam_nsbox/module.map -o $@ $(MODULE_OBJECTS) -lpam

SAN_OPTIONS := $(if $(findstring address,$(SAN)),tests/san/options.c)

$(BUILD)/nsbox-keeper: $(call objects,$(KEEPER) $(SAN_OPTIONS))
	$(call say,LINK,$@)
	$(Q)$(CC) -pie $(OWN_LDFLAGS) $(LDFLAGS) -o $@ $^

# libnl and libnftables are in this program alone, which ends when it has done its work.
NET_LIBS := libnl-3.0 libnl-route-3.0 libnftables
$(call objects,$(wildcard helper/net/*.c)): OWN_CFLAGS += $(shell $(PKG_CONFIG) --cflags $(NET_LIBS))

$(BUILD)/nsbox-net: $(call objects,$(NET) $(SAN_OPTIONS))
	$(call say,LINK,$@)
	$(Q)$(CC) -pie $(OWN_LDFLAGS) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs $(NET_LIBS))

# The seccomp filters are compiled here, once, for the machine that builds.
$(BUILD)/filter/filter.inc: helper/filter/main.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	$(Q)$(CC) $(filter-out -MMD -MP -fPIC,$(OWN_CFLAGS)) $(CPPFLAGS) $(CFLAGS) $(SANITIZE) $(LDFLAGS) \
		-o $(@D)/generate $< -lseccomp
	$(Q)$(if $(SAN),$(SAN_ENV)) $(@D)/generate > $@.new
	$(Q)mv $@.new $@

$(BUILD)/filter/nested.inc: $(BUILD)/filter/filter.inc
	$(call say,GEN,$@)
	$(Q)$(if $(SAN),$(SAN_ENV)) $(@D)/generate nested > $@.new
	$(Q)mv $@.new $@

$(BUILD)/helper/box/filter.o: $(BUILD)/filter/filter.inc $(BUILD)/filter/nested.inc

$(BUILD)/nsbox: $(call objects,$(CLI) $(SAN_OPTIONS))
	$(call say,LINK,$@)
	$(Q)$(CC) -pie $(OWN_LDFLAGS) $(LDFLAGS) -o $@ $^

# A change of the flags (another PREFIX, WITHOUT, SAN) rebuilds.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' 'SAN ?= $(SAN)' 'WITHOUT ?= $(WITHOUT)' 'WERROR ?= $(WERROR)' > $(BUILD)/settings.mk
	@echo '$(CC) $(CFLAGS) $(CPPFLAGS) $(subst ','"'"',$(OWN_CFLAGS))' | cmp -s - $@ || \
		echo '$(CC) $(CFLAGS) $(CPPFLAGS) $(subst ','"'"',$(OWN_CFLAGS))' > $@

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(OWN_CFLAGS) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

# The module is loaded by programs that have no sanitizer's run time: what can be
# checked without one is. nsbox run takes the same way in, with all of it.
$(BUILD)/module/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(filter-out -fsanitize=%,$(OWN_CFLAGS)) $(MODULE_SANITIZE) $(CPPFLAGS) $(CFLAGS) \
		-c -o $@ $<

install: all
	install -d $(DESTDIR)$(PAMDIR) $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(BINDIR) \
		$(DESTDIR)$(SYSCONFDIR)/nsbox $(DESTDIR)$(COMPLETIONS)
	install -m 0644 $(BUILD)/pam_nsbox.so $(DESTDIR)$(PAMDIR)/pam_nsbox.so
	install -m 0755 $(BUILD)/nsbox-keeper $(DESTDIR)$(LIBEXECDIR)/nsbox-keeper
	install -m 0755 $(BUILD)/nsbox-net $(DESTDIR)$(LIBEXECDIR)/nsbox-net
	install -m 0755 $(BUILD)/nsbox $(DESTDIR)$(BINDIR)/nsbox
	install -m 0644 conf/completions/nsbox $(DESTDIR)$(COMPLETIONS)/nsbox
	test -e $(DESTDIR)$(SYSCONFDIR)/nsbox/nsbox.conf || \
		install -m 0644 conf/nsbox.conf $(DESTDIR)$(SYSCONFDIR)/nsbox/nsbox.conf
	$(foreach p,$(notdir $(HAVE_MAN)),install -D -m 0644 $(BUILD)/man/$(p) \
		$(DESTDIR)$(call place_of_page,$(p)) &&) :
	install -d $(DESTDIR)$(DOCDIR)/examples
	install -m 0644 $(EXAMPLES) $(DESTDIR)$(DOCDIR)/examples
	test -z '$(NETWORKDIR)' || \
		install -D -m 0644 conf/networkd/00-nsbox.network $(DESTDIR)$(NETWORKDIR)/00-nsbox.network
	test -z '$(UDEVRULESDIR)' || \
		install -D -m 0644 conf/udev/84-nsbox.rules $(DESTDIR)$(UDEVRULESDIR)/84-nsbox.rules
	$(if $(SYSTEMDUNITDIR),$(MAKE) -s install-units)

# nsbox.service, what systemd is to do about the user managers, and what that needs.
UNITS := nsbox.service nsbox-user@.target user@.service.d/nsbox.conf
install-units:
	$(foreach u,$(UNITS),install -d $(dir $(DESTDIR)$(SYSTEMDUNITDIR)/$(u)) && \
		sed 's,@LIBEXECDIR@,$(LIBEXECDIR),; s,@BINDIR@,$(BINDIR),' conf/systemd/$(u).in \
			> $(DESTDIR)$(SYSTEMDUNITDIR)/$(u) &&) :

# ------------------------------------------------------------------ tests

# Everything but the programs' main() and the module's PAM half, for unit tests.
TESTABLE := $(filter-out %/main.c,$(sort $(CLIENT) $(KEEPER))) helper/cli/json.c
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/tst_*.c))

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(call objects,$(TESTABLE))
	$(call say,LINK,$@)
	$(Q)$(CC) -pie $(OWN_LDFLAGS) $(LDFLAGS) -o $@ $^

# Fuzz targets: tests/fuzz/fuzz_NAME.c with the corpus tests/fuzz/corpus/NAME. The unit tests
# replay the corpus; `make fuzz FUZZ_SECONDS=1800` looks for more, with clang's libFuzzer.
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 60
FUZZ_CC ?= clang
REPLAY := $(patsubst %,$(BUILD)/tests/fuzz/replay_%,$(FUZZ))
UNIT += $(REPLAY)

$(BUILD)/tests/fuzz/replay_%.o: tests/fuzz/replay.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(OWN_CFLAGS) -Itests/unit -DNSBOX_CORPUS='"tests/fuzz/corpus/$*"' $(CPPFLAGS) \
		$(CFLAGS) -c -o $@ $<

$(BUILD)/tests/fuzz/replay_%: $(BUILD)/tests/fuzz/replay_%.o $(BUILD)/tests/fuzz/fuzz_%.o \
		$(call objects,$(TESTABLE))
	$(call say,LINK,$@)
	$(Q)$(CC) -pie $(OWN_LDFLAGS) $(LDFLAGS) -o $@ $^

# What they reach, and no more: all of it is compiled at once, with the fuzzer's counters.
FUZZED := pam_nsbox/error.c $(POLICY) $(LIB)

$(BUILD)/tests/fuzz/fuzz_%: tests/fuzz/fuzz_%.c $(FUZZED) $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,FUZZ,$@)
	$(Q)$(FUZZ_CC) $(filter-out -MMD -MP -D_FORTIFY_SOURCE=2 -fsanitize=%,$(OWN_CFLAGS)) -g -O1 \
		-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -o $@ $< $(FUZZED)

# New inputs go to $(BUILD)/corpus; `make fuzz-merge` puts what is worth keeping into
# $(BUILD)/corpus/merged: the fewest inputs that reach every line that any of them reaches.
fuzz: $(patsubst %,$(BUILD)/tests/fuzz/fuzz_%,$(FUZZ))
	@for name in $(FUZZ); do mkdir -p $(BUILD)/corpus/$$name; \
		$(BUILD)/tests/fuzz/fuzz_$$name -max_total_time=$(FUZZ_SECONDS) -max_len=8192 \
			-artifact_prefix=$(BUILD)/corpus/ -print_final_stats=1 \
			$(BUILD)/corpus/$$name tests/fuzz/corpus/$$name || exit 1; done

fuzz-merge: $(patsubst %,$(BUILD)/tests/fuzz/fuzz_%,$(FUZZ))
	@for name in $(FUZZ); do rm -rf $(BUILD)/corpus/merged; \
		mkdir -p $(BUILD)/corpus/merged $(BUILD)/corpus/$$name; \
		$(BUILD)/tests/fuzz/fuzz_$$name -set_cover_merge=1 -use_counters=0 $(BUILD)/corpus/merged \
			tests/fuzz/corpus/$$name $(BUILD)/corpus/$$name || exit 1; done

# The real thing: each program makes a throwaway host of its own. root only.
SUITES := $(filter-out %/common.py %/faults.py,$(wildcard tests/unit/*.py tests/pam/*.py tests/login/*.py tests/hostile/*.py))

# Ends with the line "N passed, N failed". NSBOX_MUST_WORK=1 makes a skip a failure.
check: deps
	$(MAKE) all unit-programs
	NSBOX_BUILD=$(BUILD) tests/run $(RUN_FLAGS) $(UNIT) $(SUITES)

# The same programs twice: as they are, and from the sanitizers' build SAN_BUILD.
SAN_BUILD ?= build-san
check-all: all $(UNIT)
	NSBOX_BUILD=$(BUILD) NSBOX_SAN_BUILD=$(SAN_BUILD) tests/run --timeout 1400 $(RUN_FLAGS) $(UNIT) \
		$(patsubst $(BUILD)/%,$(SAN_BUILD)/%,$(UNIT)) $(SUITES) tests/san/login.py tests/package/deb.py $(VMS)

# Real systems, one after the other: a Debian without systemd, two with it. The images are made once
# and kept; NSBOX_DEB names a package that is there already.
VMS := tests/vm/run.py tests/vm/bookworm.py tests/vm/trixie.py
check-vm: deps
	$(MAKE) all
	NSBOX_BUILD=$(BUILD) tests/run --timeout 1400 $(RUN_FLAGS) $(VMS)

check-unit: $(UNIT)
	tests/run $(UNIT) $(wildcard tests/unit/*.py)

# What needs neither root nor packages; a build of the Debian package runs it.
test: check-unit

unit-programs: $(UNIT)

bench: all
	tests/bench/run.py

# What the policy costs a login, alone: needs no root.
$(BUILD)/tests/bench/policytime: $(BUILD)/tests/bench/policytime.o \
		$(call objects,$(POLICY) pam_nsbox/error.c)
	$(call say,LINK,$@)
	$(Q)$(CC) -pie $(OWN_LDFLAGS) $(LDFLAGS) -o $@ $^

bench-policy: $(BUILD)/tests/bench/policytime
	$<

# What a box's network costs, against a bare program and a bare path.
bench-network: all
	tests/bench/network.py

demo: deps
	$(MAKE) all
	demo/run

# What building, testing and the demo need, from Debian's archive.
DEPS := gcc libc6-dev make libpam0g-dev libseccomp-dev libcap2-bin openssh-server \
	openssh-client sudo cron python3 procps iproute2 util-linux busybox-static strace \
	bubblewrap tmux vim less git keyutils e2fsprogs libcap-dev gcc-multilib pamtester \
	erofs-utils xfsprogs squashfs-tools mmdebstrap fuse-overlayfs uidmap \
	scdoc man-db groff-base \
	pkg-config libnl-3-dev libnl-route-3-dev libnftables-dev nftables iputils-ping curl iperf3 \
	dnsmasq-base bind9-dnsutils libnss-extrausers
deps:
	@missing=$$(dpkg-query -W -f='$${Package} $${db:Status-Status}\n' $(DEPS) 2>/dev/null | \
		awk '$$2 == "installed" { print $$1 }' | sort > $(or $(TMPDIR),/tmp)/nsbox-have.$$$$; \
		printf '%s\n' $(DEPS) | sort | comm -23 - $(or $(TMPDIR),/tmp)/nsbox-have.$$$$; \
		rm -f $(or $(TMPDIR),/tmp)/nsbox-have.$$$$); \
	test -z "$$missing" || { apt-get update -q && DEBIAN_FRONTEND=noninteractive \
		apt-get install -q -y --no-install-recommends $$missing; }

CI_DEPS := clang qemu-system-x86 build-essential debhelper lintian podman crun
ci-deps:
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(CI_DEPS)

# The policy stays: it is the administrator's.
uninstall:
	@! grep -sl '^[^#]*pam_nsbox\.so' $(DESTDIR)$(SYSCONFDIR)/pam.d/* || { \
		echo 'These services still name pam_nsbox.so, and without it nobody logs in through'; \
		echo 'them, not even root: take the line out first.'; exit 1; }
	rm -f $(DESTDIR)$(PAMDIR)/pam_nsbox.so $(DESTDIR)$(LIBEXECDIR)/nsbox-keeper \
		$(DESTDIR)$(LIBEXECDIR)/nsbox-net $(DESTDIR)$(BINDIR)/nsbox $(DESTDIR)$(COMPLETIONS)/nsbox \
		$(if $(SYSTEMDUNITDIR),$(addprefix $(DESTDIR)$(SYSTEMDUNITDIR)/,$(UNITS))) \
		$(if $(NETWORKDIR),$(DESTDIR)$(NETWORKDIR)/00-nsbox.network) \
		$(if $(UDEVRULESDIR),$(DESTDIR)$(UDEVRULESDIR)/84-nsbox.rules)
	rm -f $(foreach p,$(PAGES),$(DESTDIR)$(call place_of_page,$(p)))
	rm -f $(addprefix $(DESTDIR)$(DOCDIR)/examples/,$(notdir $(EXAMPLES)))
	for dir in $(DOCDIR)/examples $(DOCDIR) $(if $(SYSTEMDUNITDIR),$(SYSTEMDUNITDIR)/user@.service.d); do \
		test ! -d $(DESTDIR)$$dir || rmdir --ignore-fail-on-non-empty $(DESTDIR)$$dir; done

# Debian's package and its sources, in $(BUILD)/deb; the tree itself is left alone.
VERSION := 0.1.0
DEB := $(BUILD)/deb
deb:
	rm -rf $(DEB) && mkdir -p $(DEB)/pam-nsbox-$(VERSION)
	tar -c --exclude=./.git --exclude='./build*' --exclude=__pycache__ . | \
		tar -x -C $(DEB)/pam-nsbox-$(VERSION)
	tar -cz --exclude=debian -C $(DEB) -f $(DEB)/pam-nsbox_$(VERSION).orig.tar.gz \
		pam-nsbox-$(VERSION)
	cd $(DEB)/pam-nsbox-$(VERSION) && env -u BUILD -u MAKEFLAGS -u MAKEOVERRIDES \
		dpkg-buildpackage --no-sign $(DEB_FLAGS)

clean:
	rm -rf $(BUILD)

.PHONY: all install install-units uninstall clean check check-all check-unit check-vm ci-deps deb test unit-programs bench bench-policy bench-network \
	fuzz fuzz-merge demo deps FORCE
FORCE:

-include $(shell find $(BUILD) \( -path $(BUILD)/deb -o -path $(BUILD)/package \) -prune -o -type f -name '*.d' -print 2>/dev/null)
