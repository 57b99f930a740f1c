/* SPDX-License-Identifier: MIT */
/*
 * What keepers leave on record below /run/nsbox, so that callers find them and
 * that a successor can clear up after a killed one:
 *
 *	lock			held (flock) for the moment of a change, never while waiting
 *	ids/BASE		a block of ids in use: "UID BOX"
 *	UID/HASH		socket of a box; HASH-RANDOM with scope = session
 *	UID/BOX.box		record of a box; its keeper holds a flock on it
 *
 * Runs on the host, as root. Everything is 0700 and root's.
 */
#ifndef NSBOX_REGISTRY_H
#define NSBOX_REGISTRY_H

#include "accounting.h"
#include "cgroup.h"
#include "error.h"
#include "policy.h"
#include "proto.h"

struct nsbox_record {
	uid_t uid;
	char box[NSBOX_CGROUP_NAME_MAX];	/* also the name of its cgroup */
	char socket[NSBOX_SOCKET_MAX];
	int listener;			/* the bound, listening socket */
	int record_fd;			/* UID/BOX.box, locked */
	int block_fd;			/* ids/BASE, locked */
	uint32_t base;
};

#define NSBOX_RECORD_INIT { .listener = -EBADF, .record_fd = -EBADF, .block_fd = -EBADF }

/*
 * Puts a new box of @uid on record and listens as @name (with scope = session,
 * with something random after it). Returns 0; 1 if a keeper already listens there; or a negative errno. Clears up after dead keepers of @uid first.
 */
int nsbox_registry_enter(uid_t uid, const char *name, enum nsbox_scope scope,
			 struct nsbox_record *ret, struct nsbox_error *err);

/*
 * Takes a free block of ids from policy->id_first..id_last: not in use by a
 * box, in /etc/subuid or /etc/subgid, nor known to the name service; of the block
 * at @unknown the caller has just found that out (0: of none). Fills
 * record->base and block_fd.
 */
int nsbox_registry_take_block(struct nsbox_record *record, const struct nsbox_decision *policy,
			      uint32_t unknown, struct nsbox_error *err);

/* Notes that a terminal of the host belongs to the box for a while, for a successor. */
void nsbox_registry_note_terminal(struct nsbox_record *record, const char *path, uid_t uid,
				  gid_t gid);

/* Notes that a login of @user has no end on record yet, for a successor. */
void nsbox_registry_note_login(struct nsbox_record *record, const struct nsbox_accounting *login,
			       const char *user);

/* Connects to the keeper of @uid that listens as @name. Returns the socket, or a negative errno. */
int nsbox_registry_connect(uid_t uid, const char *name);

/* Hears of a box that was cleared, or why something of it is left. */
typedef void nsbox_registry_told(const char *box, const char *why, void *data);

/*
 * Clears up after the dead keepers of @uid, and tells @each of them. For nsbox
 * gc; nsbox_registry_enter() does it by itself.
 */
void nsbox_registry_clear(uid_t uid, nsbox_registry_told *each, void *data);

/* Frees the blocks of ids that no box has any more. */
void nsbox_registry_clear_blocks(void);

/* Notes that nsbox-net has been asked for a network, which a successor must remove. */
void nsbox_registry_note_network(struct nsbox_record *record);

/* Nobody finds the box any more; who is in the queue is sent away. Idempotent. */
void nsbox_registry_close(struct nsbox_record *record);

/* Gives everything back: block, record, directory. The box must be gone. */
void nsbox_registry_leave(struct nsbox_record *record);

#endif
