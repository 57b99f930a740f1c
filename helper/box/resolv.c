/* SPDX-License-Identifier: MIT */
/* Resolvers: see resolv.h. */
#include "resolv.h"
#include "cleanup.h"

#include <arpa/inet.h>
#include <string.h>

static bool is_loopback(const struct nsbox_address *a)
{
	static const unsigned char one[16] = { [15] = 1 };

	return a->family == AF_INET ? a->bytes[0] == 127 : !memcmp(a->bytes, one, sizeof(one));
}

/* A resolver with a zone (fe80::1%eth0) is one of the host's links, and no box's. */
static bool read_address(const char *text, struct nsbox_address *ret)
{
	*ret = (struct nsbox_address){ .family = strchr(text, ':') ? AF_INET6 : AF_INET };
	return inet_pton(ret->family, text, ret->bytes) == 1 && !is_loopback(ret);
}

static unsigned int read_file(const char *path, struct nsbox_address ret[NSBOX_DNS_MAX])
{
	cleanup_fclose FILE *f = fopen(path, "re");
	char line[512], address[64];
	unsigned int n = 0;

	while (f && n < NSBOX_DNS_MAX && fgets(line, sizeof(line), f))
		if (sscanf(line, " nameserver %63s", address) == 1 && read_address(address, &ret[n]))
			n++;
	return n;
}

unsigned int nsbox_resolvers(const struct nsbox_decision *policy,
			     struct nsbox_address ret[NSBOX_DNS_MAX])
{
	unsigned int n;

	if (policy->dns_mode != NSBOX_DNS_HOST) {
		memcpy(ret, policy->dns, sizeof(policy->dns));
		return policy->n_dns;
	}
	n = read_file("/etc/resolv.conf", ret);
	return n ? n : read_file("/run/systemd/resolve/resolv.conf", ret);
}
