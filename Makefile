# SPDX-License-Identifier: MIT
# Plain GNU make, no configure step. Directories, compiler and flags may be given.

PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc
LIBEXECDIR ?= $(PREFIX)/libexec
BINDIR ?= $(PREFIX)/bin
MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)
PAMDIR ?= $(if $(MULTIARCH),/lib/$(MULTIARCH)/security,/lib/security)
BUILD ?= build
PKG_CONFIG ?= pkg-config

# make WERROR=1, SAN=address,undefined, WITHOUT=<a name in pam_nsbox/defence.h>
WERROR ?=
SAN ?=
WITHOUT ?=

CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wshadow -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes \
	-Wcast-qual -Wpointer-arith -Wundef -Wvla -Wwrite-strings -Wimplicit-fallthrough \
	$(if $(WERROR),-Werror)
HARDENING := -fstack-protector-strong -fstack-clash-protection \
	$(if $(SAN),,-D_FORTIFY_SOURCE=2)
SANITIZE := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
PATHS := -DNSBOX_KEEPER_PATH='"$(LIBEXECDIR)/nsbox-keeper"' -DNSBOX_POLICY_DIR='"$(SYSCONFDIR)/nsbox"'
INCLUDES := -Ipam_nsbox -Ihelper/policy -Ihelper/lib -Ihelper/box -Ihelper/keeper -Ihelper/cli
OWN_CFLAGS := -std=gnu11 -D_GNU_SOURCE -fPIC -fvisibility=hidden $(WARNINGS) $(HARDENING) \
	$(SANITIZE) $(INCLUDES) $(PATHS) $(if $(WITHOUT),-DNSBOX_WITHOUT=$(WITHOUT)) -MMD -MP
OWN_LDFLAGS := -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed $(SANITIZE)

# What the module consists of; the part without PAM is also nsbox(1)'s way into a box.
CLIENT := $(filter-out pam_nsbox/pam_nsbox.c,$(wildcard pam_nsbox/*.c))
MODULE := $(wildcard pam_nsbox/*.c)
POLICY := $(wildcard helper/policy/*.c)
LIB := $(wildcard helper/lib/*.c)
SHARED := pam_nsbox/error.c pam_nsbox/proto.c pam_nsbox/ns.c pam_nsbox/hierarchy.c \
	pam_nsbox/deprivilege.c
KEEPER := $(SHARED) $(POLICY) $(LIB) $(wildcard helper/box/*.c) $(wildcard helper/keeper/*.c)
CLI := $(CLIENT) $(POLICY) $(LIB) helper/keeper/identity.c $(wildcard helper/cli/*.c)

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))

all: $(BUILD)/pam_nsbox.so $(BUILD)/nsbox-keeper $(BUILD)/nsbox

$(BUILD)/pam_nsbox.so: $(call objects,$(MODULE)) pam_nsbox/module.map
	$(CC) -shared $(OWN_LDFLAGS) $(LDFLAGS) $(if $(SAN),,-Wl,--no-undefined) \
		-Wl,--version-script=pam_nsbox/module.map -o $@ $(call objects,$(MODULE)) -lpam

$(BUILD)/nsbox-keeper: $(call objects,$(KEEPER))
	$(CC) -pie $(OWN_LDFLAGS) $(LDFLAGS) -o $@ $^ -lseccomp

$(BUILD)/nsbox: $(call objects,$(CLI))
	$(CC) -pie $(OWN_LDFLAGS) $(LDFLAGS) -o $@ $^

# A change of the flags (another PREFIX, WITHOUT, SAN) rebuilds.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CFLAGS) $(CPPFLAGS) $(subst ','"'"',$(OWN_CFLAGS))' | cmp -s - $@ || \
		echo '$(CC) $(CFLAGS) $(CPPFLAGS) $(subst ','"'"',$(OWN_CFLAGS))' > $@

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(OWN_CFLAGS) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

install: all
	install -d $(DESTDIR)$(PAMDIR) $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(BINDIR) \
		$(DESTDIR)$(SYSCONFDIR)/nsbox
	install -m 0644 $(BUILD)/pam_nsbox.so $(DESTDIR)$(PAMDIR)/pam_nsbox.so
	install -m 0755 $(BUILD)/nsbox-keeper $(DESTDIR)$(LIBEXECDIR)/nsbox-keeper
	install -m 0755 $(BUILD)/nsbox $(DESTDIR)$(BINDIR)/nsbox
	test -e $(DESTDIR)$(SYSCONFDIR)/nsbox/nsbox.conf || \
		install -m 0644 conf/nsbox.conf $(DESTDIR)$(SYSCONFDIR)/nsbox/nsbox.conf

# The policy stays: it is the administrator's.
uninstall:
	rm -f $(DESTDIR)$(PAMDIR)/pam_nsbox.so $(DESTDIR)$(LIBEXECDIR)/nsbox-keeper \
		$(DESTDIR)$(BINDIR)/nsbox

clean:
	rm -rf $(BUILD)

.PHONY: all install uninstall clean FORCE
FORCE:

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
