/* SPDX-License-Identifier: MIT */
/*
 * [network NAME]: a bridge and its subnets. Read when somebody's net names it,
 * so a mistake in it refuses those who would be in that network, and nobody
 * else. The network "default" is there without a section.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

/* Fewer ids than a machine has users are no network; more than these one bridge cannot carry. */
enum { SUBNET_MIN = 8, SUBNET_MAX = 30, SUBNET6_MIN = 16, SUBNET6_MAX = 126 };
enum { MTU_MIN = 1280, MTU_MAX = 65535 };

enum { KEY_BRIDGE, KEY_SUBNET, KEY_SUBNET6, KEY_ISOLATE, KEY_NAT, KEY_MTU, KEY_COUNT };

static const char *const names[KEY_COUNT] = {
	"bridge", "subnet", "subnet6", "isolate", "nat", "mtu",
};

const char *nsbox_network_key_nth(size_t i)
{
	return i < KEY_COUNT ? names[i] : NULL;
}

/* As the kernel takes it (dev_valid_name), less what no shell likes. */
static int set_bridge(struct nsbox_network *n, const char *value, struct nsbox_error *err)
{
	size_t i;

	for (i = 0; value[i]; i++) {
		char c = nsbox_lower(value[i]);

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && (!i || !strchr("_-.", c)))
			break;
	}
	if (value[i] || i >= sizeof(n->bridge) || !strncmp(value, "nsb-", 4))
		return nsbox_error_say(err, 0, "write the name of a bridge, at most %zu letters and "
				       "digits, not with nsb- in front", sizeof(n->bridge) - 1);
	(void)snprintf(n->bridge, sizeof(n->bridge), "%s", value);
	return 0;
}

static int set_subnet(struct nsbox_prefix *subnet, int family, const char *value,
		      struct nsbox_error *err)
{
	const struct nsbox_slice text = { value, strlen(value) };
	unsigned int min = family == AF_INET ? SUBNET_MIN : SUBNET6_MIN;
	unsigned int max = family == AF_INET ? SUBNET_MAX : SUBNET6_MAX;

	*subnet = (struct nsbox_prefix){ .length = 0 };
	if (!strcmp(value, "none"))
		return 0;
	if (!nsbox_prefix_parse(text, subnet) || subnet->address.family != family ||
	    subnet->length < min || subnet->length > max)
		return nsbox_error_say(err, 0, "write %s with a length of %u to %u and zeros behind "
				       "it, or none", family == AF_INET ? "10.88.0.0/16" :
				       "fd00:88::/64", min, max);
	return 0;
}

static int set_flag(bool *flag, const char *value, struct nsbox_error *err)
{
	*flag = !strcmp(value, "yes");
	return *flag || !strcmp(value, "no") ? 0 : nsbox_error_say(err, 0, "write yes or no");
}

static int set_mtu(struct nsbox_network *n, const char *value, struct nsbox_error *err)
{
	uint64_t mtu = 0;

	if (strcmp(value, "host") != 0 &&
	    (!nsbox_number(value, strlen(value), &mtu) || mtu < MTU_MIN || mtu > MTU_MAX))
		return nsbox_error_say(err, 0, "write host, or a number from %d to %d", MTU_MIN,
				       MTU_MAX);
	n->mtu = (unsigned int)mtu;
	return 0;
}

int nsbox_network_set(struct nsbox_draft *draft, size_t key, const char *value,
		      struct nsbox_error *err)
{
	struct nsbox_network *n = &draft->d.network;

	draft->network_keys |= 1U << key;
	switch (key) {
	case KEY_BRIDGE:
		return set_bridge(n, value, err);
	case KEY_SUBNET:
		return set_subnet(&n->subnet, AF_INET, value, err);
	case KEY_SUBNET6:
		return set_subnet(&n->subnet6, AF_INET6, value, err);
	case KEY_ISOLATE:
		return set_flag(&n->isolate, value, err);
	case KEY_NAT:
		return set_flag(&n->nat, value, err);
	default:
		return set_mtu(n, value, err);
	}
}

static void set_defaults(struct nsbox_draft *draft, const char *name)
{
	struct nsbox_network *n = &draft->d.network;

	*n = (struct nsbox_network){ .isolate = true, .nat = true };
	(void)snprintf(n->name, sizeof(n->name), "%s", name);
	draft->network_keys = 0;
	/* Another network needs another bridge and subnet, so it has to name them. */
	if (strcmp(name, "default") != 0)
		return;
	(void)nsbox_network_set(draft, KEY_BRIDGE, "nsbox0", NULL);
	(void)nsbox_network_set(draft, KEY_SUBNET, "10.88.0.0/16", NULL);
}

/* The sections of that name in all files, later over earlier. Returns how many there are. */
static int read_sections(const struct nsbox_policy *policy, struct nsbox_draft *draft,
			 const char *name, struct nsbox_error *err)
{
	int found = 0, r = 0;

	set_defaults(draft, name);
	for (size_t i = 0; i < policy->n_sources && r >= 0; i++) {
		const struct nsbox_source *source = policy->sources[i];
		uint32_t index = nsbox_source_find(source, NSBOX_SECTION_NETWORK, name,
						   strlen(name));

		if (!index)
			continue;
		found++;
		r = nsbox_section_header_error(source, index, err);
		if (!r)
			r = nsbox_section_apply(policy, source, index, draft, NULL, err);
	}
	return r < 0 ? r : found;
}

static int check_complete(const struct nsbox_draft *draft, struct nsbox_error *err)
{
	const struct nsbox_network *n = &draft->d.network;

	if (!n->bridge[0])
		return nsbox_error_say(err, 0, "[network %s] has no bridge: write bridge = NAME there",
				       n->name);
	if (!n->subnet.address.family && !n->subnet6.address.family)
		return nsbox_error_say(err, 0, "[network %s] has no subnet: write subnet or subnet6 "
				       "there", n->name);
	return 0;
}

static int check_pair(const struct nsbox_network *n, const struct nsbox_network *other,
		      struct nsbox_error *err)
{
	if (!strcmp(n->bridge, other->bridge))
		return nsbox_error_say(err, 0, "[network %s] and [network %s] have the same bridge: "
				       "give each its own", n->name, other->name);
	if (nsbox_prefix_overlaps(&n->subnet, &other->subnet) ||
	    nsbox_prefix_overlaps(&n->subnet6, &other->subnet6))
		return nsbox_error_say(err, 0, "the subnets of [network %s] and [network %s] "
				       "overlap: give each its own", n->name, other->name);
	return 0;
}

/* Against every other network that is written down and can be read. */
static int check_others(const struct nsbox_policy *policy, const struct nsbox_draft *draft,
			struct nsbox_error *err)
{
	struct nsbox_draft other = { .arena = draft->arena };
	char name[sizeof(other.d.network.name)];

	for (size_t i = 0; i < policy->n_sources; i++) {
		const struct nsbox_source *source = policy->sources[i];

		for (uint32_t s = 1; s < source->n_sections; s++) {
			const struct nsbox_section *section = &source->sections[s];
			int r;

			if (section->kind != NSBOX_SECTION_NETWORK ||
			    section->name_len >= sizeof(name))
				continue;
			(void)snprintf(name, sizeof(name), "%.*s", (int)section->name_len,
				       source->text + section->name);
			if (!strcmp(name, draft->d.network.name) ||
			    read_sections(policy, &other, name, NULL) < 0)
				continue;
			r = check_pair(&draft->d.network, &other.d.network, err);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

int nsbox_network_find(const struct nsbox_policy *policy, struct nsbox_draft *draft,
		       bool *ret_placed, struct nsbox_error *err)
{
	const char *name = draft->d.net_name;
	int r = read_sections(policy, draft, name, err);

	*ret_placed = r < 0;
	if (r == 0 && strcmp(name, "default") != 0)
		return nsbox_error_say(err, 0, "there is no [network %s]", name);
	if (r >= 0)
		r = check_complete(draft, err);
	return r < 0 ? r : check_others(policy, draft, err);
}

void nsbox_network_print(const struct nsbox_network *network, FILE *to)
{
	(void)fprintf(to, "network=%s bridge=%s subnet=", network->name, network->bridge);
	nsbox_prefix_print(&network->subnet, to);
	(void)fputs(" subnet6=", to);
	nsbox_prefix_print(&network->subnet6, to);
	(void)fprintf(to, " isolate=%d nat=%d mtu=%u\n", network->isolate, network->nat,
		      network->mtu);
}
