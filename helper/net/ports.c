/* SPDX-License-Identifier: MIT */
/* Listening sockets of the host, from /proc/net: see ports.h. */
#include "ports.h"
#include "addr.h"
#include "cleanup.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

/* States of /proc/net/tcp and udp: TCP_LISTEN, and TCP_CLOSE for a socket that is bound only. */
enum { LISTENS = 0x0a, IS_BOUND = 0x07 };

/* Words of four bytes, each as the machine keeps it. */
static bool read_address(const char *hex, struct nsbox_address *ret)
{
	size_t words = strlen(hex) / 8;

	*ret = (struct nsbox_address){ .family = words == 1 ? AF_INET : AF_INET6 };
	for (size_t i = 0; i < words && i < 4; i++) {
		unsigned int word;

		if (sscanf(hex + 8 * i, "%8x", &word) != 1)
			return false;
		memcpy(ret->bytes + 4 * i, &word, 4);
	}
	return words == 1 || words == 4;
}

static bool is_loopback(const struct nsbox_address *a)
{
	return a->family == AF_INET ? a->bytes[0] == 127 :
	       memcmp(a->bytes, &in6addr_loopback, 16) == 0;
}

/* Would the service hear less, with the port published? Nobody outside reaches loopback anyhow. */
static bool takes_from(const struct nsbox_publish *p, const struct nsbox_address *listener)
{
	static const unsigned char zero[16];

	if (is_loopback(listener))
		return false;
	/* One on all addresses of IPv6 mostly hears IPv4 too. */
	if (memcmp(listener->bytes, zero, nsbox_addr_size(listener->family)) == 0)
		return listener->family == AF_INET6 || p->at.family != AF_INET6;
	return !p->at.family || nsbox_addr_same(&p->at, listener);
}

static bool is_taken(const struct nsbox_publish *p, const char *path)
{
	cleanup_fclose FILE *f = fopen(path, "re");
	char line[512], hex[40];
	unsigned int port, state;
	struct nsbox_address listener;
	bool taken = false;

	while (f && !taken && fgets(line, sizeof(line), f))
		taken = sscanf(line, " %*d: %39[0-9A-F]:%4x %*[0-9A-F]:%*x %2x", hex, &port, &state) == 3 &&
			port == p->host && state == (p->udp ? IS_BOUND : LISTENS) &&
			read_address(hex, &listener) && takes_from(p, &listener);
	return taken;
}

int nsbox_ports_check(const struct nsbox_net_request *request, struct nsbox_error *err)
{
	for (unsigned int i = 0; i < request->n_publish; i++) {
		const struct nsbox_publish *p = &request->publish[i];

		if (is_taken(p, p->udp ? "/proc/net/udp" : "/proc/net/tcp") ||
		    is_taken(p, p->udp ? "/proc/net/udp6" : "/proc/net/tcp6"))
			return nsbox_error_say(err, EBUSY, "a service of the host listens on its port "
					       "%u/%s: publish another", p->host,
					       p->udp ? "udp" : "tcp");
	}
	return 0;
}
