/* SPDX-License-Identifier: MIT */
/* Leases: see ledger.h. */
#include "ledger.h"
#include "addr.h"
#include "cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define LEDGER NSBOX_NET_DIR "/ledger"

static int take_lock(struct nsbox_error *err)
{
	cleanup_close int fd = -EBADF;
	int r;

	if (mkdir(NSBOX_NET_DIR, 0700) < 0 && errno != EEXIST)
		return nsbox_error_set(err, errno, "mkdir " NSBOX_NET_DIR);
	fd = open(NSBOX_NET_DIR "/lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return nsbox_error_set(err, errno, "open " NSBOX_NET_DIR "/lock");
	do
		r = flock(fd, LOCK_EX);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return nsbox_error_set(err, errno, "lock " NSBOX_NET_DIR "/lock");
	return take_fd(&fd);
}

static struct nsbox_lease *add_lease(struct nsbox_ledger *ledger)
{
	if (ledger->n == ledger->room) {
		size_t room = ledger->room ? 2 * ledger->room : 64;
		struct nsbox_lease *new = realloc(ledger->leases, room * sizeof(*new));

		if (!new)
			return NULL;
		ledger->leases = new;
		ledger->room = room;
	}
	memset(&ledger->leases[ledger->n], 0, sizeof(ledger->leases[0]));
	return &ledger->leases[ledger->n++];
}

static bool make_room_for_ports(struct nsbox_lease *lease)
{
	lease->publish = calloc(NSBOX_PUBLISH_MAX, sizeof(*lease->publish));
	return lease->publish;
}

static void drop_ports(struct nsbox_lease *lease)
{
	free(lease->publish);
	lease->publish = NULL;
	lease->n_publish = 0;
}

/* "tcp/2222/" or "udp/53/192.0.2.1", by commas; "-": none. */
static int read_ports(char *text, struct nsbox_lease *lease)
{
	char *pos = NULL;

	if (strcmp(text, "-") == 0)
		return 0;
	if (!make_room_for_ports(lease))
		return -ENOMEM;
	for (char *word = strtok_r(text, ",", &pos); word && lease->n_publish < NSBOX_PUBLISH_MAX;
	     word = strtok_r(NULL, ",", &pos)) {
		struct nsbox_publish *p = &lease->publish[lease->n_publish];
		char proto[4], address[48] = "";

		*p = (struct nsbox_publish){ .host = 0 };
		if (sscanf(word, "%3[a-z]/%hu/%47s", proto, &p->host, address) < 2)
			continue;
		p->udp = proto[0] == 'u';
		if (*address)
			(void)nsbox_addr_read(address, &p->at);
		lease->n_publish++;
	}
	return 0;
}

static void write_ports(const struct nsbox_lease *lease, FILE *to)
{
	for (unsigned int i = 0; i < lease->n_publish; i++) {
		const struct nsbox_publish *p = &lease->publish[i];

		(void)fprintf(to, "%s%s/%u/%s", i ? "," : "", p->udp ? "udp" : "tcp", p->host,
			      nsbox_addr_text(&p->at).s);
	}
	(void)fputs(lease->n_publish ? "\n" : "-\n", to);
}

/* The next word of a line, cut to @size; true: it is there, and whole. */
static bool next_word(const char **pos, const char *end, char *ret, size_t size)
{
	const char *start = *pos, *stop = memchr(start, ' ', (size_t)(end - start));
	size_t len = (size_t)((stop ? stop : end) - start);

	*pos = stop ? stop + 1 : end;
	if (len == 0 || len >= size)
		return false;
	memcpy(ret, start, len);
	ret[len] = '\0';
	return true;
}

/*
 * By hand, and what has not changed is written as it was read: with sscanf() and
 * printf() a ledger of 500 lines took a tenth of the time of a box.
 */
static int read_line(struct nsbox_ledger *ledger, const char *line, size_t length)
{
	char uid[12], a4[48], a6[48], nat[4], ports[1200];
	const char *pos = line, *end = line + length;
	struct nsbox_lease *lease = add_lease(ledger);

	if (!lease)
		return -ENOMEM;
	if (!next_word(&pos, end, lease->network, sizeof(lease->network)) ||
	    !next_word(&pos, end, uid, sizeof(uid)) ||
	    !next_word(&pos, end, lease->box, sizeof(lease->box)) ||
	    !next_word(&pos, end, a4, sizeof(a4)) || !next_word(&pos, end, a6, sizeof(a6)) ||
	    !next_word(&pos, end, nat, sizeof(nat)) ||
	    !next_word(&pos, end, lease->hostname, sizeof(lease->hostname)) ||
	    !next_word(&pos, end, ports, sizeof(ports))) {
		ledger->n--;
		return 0;
	}
	lease->uid = (uid_t)strtoul(uid, NULL, 10);
	lease->nat = nat[0] == '1';
	(void)nsbox_addr_read(a4, &lease->address);
	(void)nsbox_addr_read(a6, &lease->address6);
	lease->line = line;
	lease->line_length = length;
	return read_ports(ports, lease);
}

/* The whole file; none is an empty one. */
static int read_text(struct nsbox_ledger *ledger, size_t *ret_size)
{
	cleanup_close int fd = open(LEDGER, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t n;

	ledger->is_new = fd < 0 && errno == ENOENT;
	if (fd < 0)
		return ledger->is_new ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	ledger->text = malloc((size_t)st.st_size + 1);
	if (!ledger->text)
		return -ENOMEM;
	n = read(fd, ledger->text, (size_t)st.st_size + 1);
	if (n != st.st_size)
		return n < 0 ? -errno : -EIO;
	*ret_size = (size_t)n;
	return 0;
}

static int read_ledger(struct nsbox_ledger *ledger)
{
	size_t size = 0;
	int r = read_text(ledger, &size);
	const char *line = ledger->text, *stop;

	for (size_t left = size; r == 0 && left; left -= (size_t)(stop - line), line = stop) {
		stop = memchr(line, '\n', left);
		if (!stop)
			return -EIO;	/* every line is written with its end */
		r = read_line(ledger, line, (size_t)(stop++ - line));
	}
	return r;
}

int nsbox_ledger_open(struct nsbox_ledger *ret, struct nsbox_error *err)
{
	int r;

	ret->lock = take_lock(err);
	if (ret->lock < 0)
		return ret->lock;
	r = read_ledger(ret);
	if (r == 0)
		return 0;
	/* One that is read in part would give away what others have. */
	nsbox_ledger_drop(ret);
	return nsbox_error_set(err, -r, "reading " LEDGER);
}

static void write_line(const struct nsbox_lease *l, FILE *to)
{
	if (l->line) {
		(void)fwrite(l->line, l->line_length + 1, 1, to);
		return;
	}
	(void)fprintf(to, "%s %u %s %s %s %d %s ", l->network, l->uid, l->box,
		      l->address.family ? nsbox_addr_text(&l->address).s : "-",
		      l->address6.family ? nsbox_addr_text(&l->address6).s : "-", l->nat,
		      l->hostname[0] ? l->hostname : "-");
	write_ports(l, to);
}

int nsbox_ledger_save(const struct nsbox_ledger *ledger, struct nsbox_error *err)
{
	FILE *f = fopen(LEDGER ".new", "we");
	bool bad;

	if (!f)
		return nsbox_error_set(err, errno, "create " LEDGER ".new");
	for (size_t i = 0; i < ledger->n; i++)
		write_line(&ledger->leases[i], f);
	bad = ferror(f);
	if (fclose(f) != 0 || bad || rename(LEDGER ".new", LEDGER) < 0)
		return nsbox_error_set(err, errno, "write " LEDGER);
	return 0;
}

void nsbox_lease_free(struct nsbox_lease *lease)
{
	strcpy(lease->box, "-");
	drop_ports(lease);
	lease->line = NULL;
}

void nsbox_ledger_drop(struct nsbox_ledger *ledger)
{
	for (size_t i = 0; i < ledger->n; i++)
		drop_ports(&ledger->leases[i]);
	free(ledger->leases);
	free(ledger->text);
	*ledger = (struct nsbox_ledger){ .lock = nsbox_close(ledger->lock) };
}

struct nsbox_lease *nsbox_ledger_find(struct nsbox_ledger *ledger, const char *box)
{
	for (size_t i = 0; i < ledger->n; i++)
		if (strcmp(ledger->leases[i].box, box) == 0)
			return &ledger->leases[i];
	return NULL;
}

/* A living keeper holds a lock on its box's record (registry.h). */
static bool is_dead(const struct nsbox_lease *lease)
{
	cleanup_close int fd = -EBADF;
	char path[128];

	(void)snprintf(path, sizeof(path), "/run/nsbox/%u/%s.box", lease->uid, lease->box);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? errno == ENOENT : flock(fd, LOCK_EX | LOCK_NB) == 0;
}

struct nsbox_lease *nsbox_ledger_find_dead(struct nsbox_ledger *ledger, const char *network)
{
	for (size_t i = 0; i < ledger->n; i++) {
		struct nsbox_lease *lease = &ledger->leases[i];

		if (!nsbox_lease_is_free(lease) &&
		    (!network || strcmp(lease->network, network) == 0) && is_dead(lease))
			return lease;
	}
	return NULL;
}

/* The number of a lease in the network as it is now; 0: it is not of it. */
static uint32_t number_of(const struct nsbox_lease *lease, const struct nsbox_network *network)
{
	if (strcmp(lease->network, network->name) != 0)
		return 0;
	return network->subnet.address.family ?
	       nsbox_addr_number(&network->subnet, &lease->address) :
	       nsbox_addr_number(&network->subnet6, &lease->address6);
}

struct search {
	struct nsbox_ledger *ledger;
	const struct nsbox_net_request *request;
	unsigned char *taken;		/* by number: in use, or reserved */
	unsigned char *known;		/* by number: some user's, or taken */
	uint32_t last;
};

static void mark(struct search *s, uint32_t number, bool taken)
{
	if (!number || number > s->last)
		return;
	s->known[number] = 1;
	s->taken[number] |= taken;
}

static uint32_t fixed_number(const struct nsbox_net_request *request)
{
	const struct nsbox_network *n = &request->network;

	return nsbox_addr_number(request->address.family == AF_INET ? &n->subnet : &n->subnet6,
				 &request->address);
}

static uint32_t choose(const struct search *s)
{
	struct nsbox_ledger *ledger = s->ledger;
	uint32_t n;

	if (s->request->address.family) {
		n = fixed_number(s->request);
		return n && n <= s->last && !s->taken[n] ? n : 0;
	}
	for (size_t i = 0; i < ledger->n; i++) {
		n = number_of(&ledger->leases[i], &s->request->network);
		if (ledger->leases[i].uid == s->request->uid && n && n <= s->last && !s->taken[n])
			return n;
	}
	for (n = 1; n <= s->last; n++)
		if (!s->known[n])
			return n;
	for (n = 1; n <= s->last; n++)
		if (!s->taken[n])
			return n;
	return 0;
}

/* Nobody has this address, or shall remember it, but the box from now on. */
static struct nsbox_lease *lease_for(struct nsbox_ledger *ledger,
				     const struct nsbox_net_request *request, uint32_t number)
{
	struct nsbox_lease *lease = NULL;

	for (size_t i = 0; i < ledger->n && !lease; i++)
		if (number_of(&ledger->leases[i], &request->network) == number)
			lease = &ledger->leases[i];
	if (!lease)
		lease = add_lease(ledger);
	if (!lease)
		return NULL;
	drop_ports(lease);
	*lease = (struct nsbox_lease){
		.uid = request->uid, .nat = request->network.nat,
		.address = nsbox_addr_nth(&request->network.subnet, number),
		.address6 = nsbox_addr_nth(&request->network.subnet6, number),
	};
	(void)snprintf(lease->network, sizeof(lease->network), "%s", request->network.name);
	(void)snprintf(lease->box, sizeof(lease->box), "%s", request->box);
	(void)snprintf(lease->hostname, sizeof(lease->hostname), "%s", request->hostname);
	if (request->n_publish && !make_room_for_ports(lease))
		return NULL;
	lease->n_publish = request->n_publish;
	if (lease->publish)
		memcpy(lease->publish, request->publish, sizeof(request->publish));
	return lease;
}

static int explain_full(const struct search *s, struct nsbox_error *err)
{
	const struct nsbox_network *n = &s->request->network;
	const struct nsbox_prefix *subnet = n->subnet.address.family ? &n->subnet : &n->subnet6;

	if (s->request->address.family)
		return nsbox_error_say(err, EADDRINUSE, "the address %s of [network %s] is another "
				       "box's", nsbox_addr_text(&s->request->address).s, n->name);
	return nsbox_error_say(err, EADDRNOTAVAIL, "all addresses of [network %s] are taken: its "
			       "subnet is %s/%u", n->name, nsbox_addr_text(&subnet->address).s,
			       subnet->length);
}

int nsbox_ledger_take(struct nsbox_ledger *ledger, const struct nsbox_net_request *request,
		      const struct nsbox_address *gateway4, const struct nsbox_address *gateway6,
		      struct nsbox_lease **ret, struct nsbox_error *err)
{
	uint32_t last = nsbox_addr_last(&request->network), number;
	cleanup_free unsigned char *taken = calloc(last + 1, 1), *known = calloc(last + 1, 1);
	struct search s = { ledger, request, taken, known, last };

	if (!taken || !known)
		return nsbox_error_set(err, ENOMEM, "looking for an address");
	mark(&s, nsbox_addr_number(&request->network.subnet, gateway4), true);
	mark(&s, nsbox_addr_number(&request->network.subnet6, gateway6), true);
	for (size_t i = 0; i < ledger->n; i++)
		mark(&s, number_of(&ledger->leases[i], &request->network),
		     !nsbox_lease_is_free(&ledger->leases[i]));
	number = choose(&s);
	if (!number)
		return explain_full(&s, err);
	*ret = lease_for(ledger, request, number);
	return *ret ? 0 : nsbox_error_set(err, ENOMEM, "a lease");
}

static bool same_port(const struct nsbox_publish *a, const struct nsbox_publish *b)
{
	return a->host == b->host && a->udp == b->udp &&
	       (!a->at.family || !b->at.family || nsbox_addr_same(&a->at, &b->at));
}

int nsbox_ledger_check_ports(const struct nsbox_ledger *ledger,
			     const struct nsbox_net_request *request, struct nsbox_error *err)
{
	for (size_t i = 0; i < ledger->n; i++) {
		const struct nsbox_lease *lease = &ledger->leases[i];

		if (nsbox_lease_is_free(lease))
			continue;
		for (unsigned int a = 0; a < lease->n_publish; a++)
			for (unsigned int b = 0; b < request->n_publish; b++)
				if (same_port(&lease->publish[a], &request->publish[b]))
					return nsbox_error_say(err, EADDRINUSE, "port %u/%s of the "
							       "host leads to box %s already",
							       lease->publish[a].host,
							       lease->publish[a].udp ? "udp" : "tcp",
							       lease->box);
	}
	return 0;
}

static void print_hosts(const struct nsbox_ledger *ledger, const char *network, FILE *to)
{
	(void)fputs("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n", to);
	for (size_t i = 0; i < ledger->n; i++) {
		const struct nsbox_lease *l = &ledger->leases[i];

		if (nsbox_lease_is_free(l) || strcmp(l->network, network) != 0)
			continue;
		if (l->address.family)
			(void)fprintf(to, "%s\t%s\n", nsbox_addr_text(&l->address).s, l->hostname);
		if (l->address6.family)
			(void)fprintf(to, "%s\t%s\n", nsbox_addr_text(&l->address6).s, l->hostname);
	}
}

/* In place: it is mounted in the boxes that are there. */
int nsbox_ledger_write_hosts(const struct nsbox_ledger *ledger, const char *network,
			     struct nsbox_error *err)
{
	cleanup_close int fd = -EBADF;
	cleanup_free char *text = NULL;
	char path[128];
	size_t len = 0;
	FILE *to;

	(void)snprintf(path, sizeof(path), NSBOX_NET_DIR "/%s.hosts", network);
	fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : nsbox_error_set(err, errno, "open %s", path);
	to = open_memstream(&text, &len);
	if (!to)
		return nsbox_error_set(err, ENOMEM, "writing %s", path);
	print_hosts(ledger, network, to);
	if (fclose(to) != 0)
		return nsbox_error_set(err, ENOMEM, "writing %s", path);
	if (pwrite(fd, text, len, 0) != (ssize_t)len || ftruncate(fd, (off_t)len) < 0)
		return nsbox_error_set(err, errno, "write %s", path);
	return 0;
}

static void request_path(const char *box, char *path, size_t size)
{
	(void)snprintf(path, size, NSBOX_NET_DIR "/%s", box);
}

int nsbox_ledger_keep_request(const struct nsbox_net_request *request, struct nsbox_error *err)
{
	cleanup_close int fd = -EBADF;
	char path[128];

	request_path(request->box, path, sizeof(path));
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, request, sizeof(*request)) != (ssize_t)sizeof(*request))
		return nsbox_error_set(err, errno, "write %s", path);
	return 0;
}

int nsbox_ledger_read_request(const char *box, struct nsbox_net_request *ret)
{
	cleanup_close int fd = -EBADF;
	char path[128];

	request_path(box, path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && read(fd, ret, sizeof(*ret)) == (ssize_t)sizeof(*ret) &&
	       ret->version == NSBOX_NET_VERSION ? 0 : -ENOENT;
}

void nsbox_ledger_forget_request(const char *box)
{
	char path[128];

	request_path(box, path, sizeof(path));
	(void)unlink(path);
}
