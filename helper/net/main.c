/* SPDX-License-Identifier: MIT */
/*
 * nsbox-net: gives a box its network, or takes it away. Started by the box's
 * keeper, does one request (request.h) and ends. Everything happens under one
 * lock, which nobody holds while waiting for anybody. Runs on the host, as root.
 */
#include "addr.h"
#include "cleanup.h"
#include "conntrack.h"
#include "forward.h"
#include "links.h"
#include "nft.h"
#include "ports.h"
#include "rules.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

enum { WAIT_MS = 1500, TRY_MS = 10 };

struct job {
	struct nsbox_net_request request;
	struct nsbox_net_reply reply;
	struct nsbox_ledger ledger;
	struct nsbox_links links;
};

/*
 * Takes away all that there may be of a lease: after the end of its box, and of
 * a box that was never finished. What cannot be removed keeps its lease.
 */
static int remove_lease(struct job *job, struct nsbox_lease *lease, struct nsbox_error *err)
{
	struct nsbox_net_request request = { .version = 0 };
	char box[sizeof(lease->box)];
	bool known;
	int r;

	memcpy(box, lease->box, sizeof(box));
	known = nsbox_ledger_read_request(box, &request) == 0;
	/* The link first: with it goes what could still send. */
	r = nsbox_links_remove(&job->links, request.network.bridge, lease, err);
	if (r == 0)
		r = nsbox_rules_remove(&job->ledger, known ? &request : NULL, lease, err);
	if (r < 0)
		return r;
	nsbox_conntrack_forget(&lease->address);
	nsbox_conntrack_forget(&lease->address6);
	nsbox_ledger_forget_request(box);
	nsbox_lease_free(lease);
	r = nsbox_ledger_save(&job->ledger, err);
	return r < 0 ? r : nsbox_ledger_write_hosts(&job->ledger, lease->network, err);
}

static bool is_idle(const struct nsbox_ledger *ledger)
{
	for (size_t i = 0; i < ledger->n; i++)
		if (!nsbox_lease_is_free(&ledger->leases[i]))
			return false;
	return true;
}

static int remove_box(struct job *job, struct nsbox_error *err)
{
	struct nsbox_lease *lease = nsbox_ledger_find(&job->ledger, job->request.box);
	int r = lease ? remove_lease(job, lease, err) : 0;

	/* Without the ledger nobody knows whether this was the last. */
	if (job->ledger.lock < 0)
		return -ENOLCK;
	if (r == 0 && is_idle(&job->ledger))
		nsbox_forward_restore();
	return r;
}

static int try_lease(struct job *job, struct nsbox_lease **ret, struct nsbox_error *err)
{
	int r = nsbox_ledger_check_ports(&job->ledger, &job->request, err);

	return r < 0 ? r : nsbox_ledger_take(&job->ledger, &job->request, &job->links.gateway4,
					     &job->links.gateway6, ret, err);
}

/* A lease; where what it takes is another's, from a box whose keeper was killed. */
static int take_lease(struct job *job, struct nsbox_lease **ret, struct nsbox_error *err)
{
	const char *network = job->request.network.name;
	struct nsbox_lease *dead;
	int r;

	while ((r = try_lease(job, ret, err)) == -EADDRNOTAVAIL || r == -EADDRINUSE) {
		/* A port of the host may be that of a box in any network. */
		dead = nsbox_ledger_find_dead(&job->ledger, r == -EADDRINUSE ? NULL : network);
		if (!dead || remove_lease(job, dead, NULL) < 0)
			return r;
	}
	return r;
}

/* From here on the ledger names the box, so whatever is made will be found and removed. */
static int register_box(struct job *job, struct nsbox_lease **ret, struct nsbox_error *err)
{
	int r = take_lease(job, ret, err);

	if (r == 0)
		r = nsbox_ledger_keep_request(&job->request, err);
	return r < 0 ? r : nsbox_ledger_save(&job->ledger, err);
}

static int furnish_box(struct job *job, const struct nsbox_lease *lease, struct nsbox_error *err)
{
	int r = nsbox_forward_need(&job->links, &job->request.network, job->reply.note, err);

	/* Rules before links: there is no moment in which the port may more than it should. */
	if (r == 0)
		r = nsbox_rules_add(&job->ledger, &job->request, lease, err);
	if (r == 0)
		r = nsbox_links_add(&job->links, &job->request, lease, NSBOX_NET_NS_FD, err);
	if (r == 0 && !job->request.network.isolate)
		r = nsbox_ledger_write_hosts(&job->ledger, lease->network, err);
	return r;
}

/* Has the user another box, which may be about to end? */
static bool has_other_box(const struct job *job)
{
	for (size_t i = 0; i < job->ledger.n; i++)
		if (!nsbox_lease_is_free(&job->ledger.leases[i]) &&
		    job->ledger.leases[i].uid == job->request.uid)
			return true;
	return false;
}

/*
 * What is in the way may be the user's own box of a moment ago: its keeper is no
 * more found by anybody, but has not given back what it had. Without the lock,
 * or it never could.
 */
static int register_soon(struct job *job, struct nsbox_lease **ret, struct nsbox_error *err)
{
	int r = register_box(job, ret, err);

	for (int tries = WAIT_MS / TRY_MS; tries > 0 && has_other_box(job) &&
	     (r == -EADDRINUSE || r == -EADDRNOTAVAIL); tries--) {
		nsbox_ledger_drop(&job->ledger);
		(void)usleep(TRY_MS * 1000);
		if (nsbox_ledger_open(&job->ledger, err) < 0)
			return -err->code;
		r = register_box(job, ret, err);
	}
	return r;
}

static int add_box(struct job *job, struct nsbox_error *err)
{
	struct nsbox_lease *lease = NULL;
	int r = nsbox_ports_check(&job->request, err);

	if (r == 0)
		r = nsbox_links_bridge(&job->links, &job->request.network, &job->ledger, err);
	job->request.own_bridge = job->links.own;
	if (r == 0)
		r = register_soon(job, &lease, err);
	if (r == 0)
		r = furnish_box(job, lease, err);
	if (r < 0) {
		(void)remove_box(job, NULL);
		return r;
	}
	(void)snprintf(job->reply.address, sizeof(job->reply.address), "%s",
		       nsbox_addr_text(&lease->address).s);
	(void)snprintf(job->reply.address6, sizeof(job->reply.address6), "%s",
		       nsbox_addr_text(&lease->address6).s);
	nsbox_links_name(job->request.box, job->reply.link);
	return 0;
}

/* Whoever removes boxes waits for our lock; with the keeper dead nothing may be added after. */
static int die_with_keeper(const struct nsbox_net_request *request, struct nsbox_error *err)
{
	if (request->op != NSBOX_NET_ADD)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return nsbox_error_set(err, errno, "prctl(PR_SET_PDEATHSIG)");
	return getppid() == request->keeper ? 0 :
	       nsbox_error_say(err, ESRCH, "the keeper is gone");
}

static int read_request(struct nsbox_net_request *ret, struct nsbox_error *err)
{
	if (pread(NSBOX_NET_REQUEST_FD, ret, sizeof(*ret), 0) != (ssize_t)sizeof(*ret) ||
	    ret->version != NSBOX_NET_VERSION)
		return nsbox_error_say(err, EINVAL, "nsbox-net is started by nsbox-keeper of the "
				       "same version, and not by hand");
	return 0;
}

/* Somebody has flushed the rules. What a box has begun since then may be what they forbid. */
static int restore(struct job *job, struct nsbox_error *err)
{
	int r;

	if (is_idle(&job->ledger) || nsbox_nft_in_force())
		return 0;
	r = nsbox_rules_repair(&job->ledger, err);
	for (size_t i = 0; r == 0 && i < job->ledger.n; i++) {
		const struct nsbox_lease *lease = &job->ledger.leases[i];

		if (nsbox_lease_is_free(lease))
			continue;
		nsbox_conntrack_forget(&lease->address);
		nsbox_conntrack_forget(&lease->address6);
	}
	if (r == 0)
		(void)snprintf(job->reply.note, sizeof(job->reply.note), "somebody took nsbox's rules out "
			       "of nftables: they are in force again");
	return r;
}

static int serve(struct job *job, struct nsbox_error *err)
{
	switch (job->request.op) {
	case NSBOX_NET_ADD:
		return add_box(job, err);
	case NSBOX_NET_REMOVE:
		return remove_box(job, err);
	case NSBOX_NET_RESTORE:
		return restore(job, err);
	default:
		return is_idle(&job->ledger) ? 0 : nsbox_rules_repair(&job->ledger, err);
	}
}

int main(void)
{
	static struct job job = { .ledger = NSBOX_LEDGER_INIT, .links = NSBOX_LINKS_INIT };
	struct nsbox_error err = { 0 };
	int r = read_request(&job.request, &err);

	(void)umask(077);
	if (r == 0)
		r = die_with_keeper(&job.request, &err);
	if (r == 0)
		r = nsbox_ledger_open(&job.ledger, &err);
	if (r == 0)
		r = nsbox_links_open(&job.links, &err);
	if (r == 0)
		r = serve(&job, &err);
	if (r < 0)
		job.reply.err = err;
	nsbox_links_drop(&job.links);
	nsbox_ledger_drop(&job.ledger);
	if (write(NSBOX_NET_REPLY_FD, &job.reply, sizeof(job.reply)) != (ssize_t)sizeof(job.reply))
		(void)fprintf(stderr, "%s\n", r < 0 ? err.msg : "nobody listens");
	return r < 0;
}
