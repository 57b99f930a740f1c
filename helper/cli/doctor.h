/* SPDX-License-Identifier: MIT */
/*
 * nsbox doctor: what each topic finds, and whom it is about.
 *
 *   doctor.c          the verb, the findings, how they are printed
 *   doctor_kernel.c   what this kernel can do, tried out; sysctls
 *   doctor_idmap.c    which of the file systems below boxes have idmapped mounts
 *   doctor_cgroup.c   cgroup layout and controllers
 *   doctor_files.c    the policy, the keeper, owners and modes
 *   doctor_pam.c      sshd, and the session stack of every service
 *   doctor_around.c   the boxed users, and their ways around the box
 *   doctor_network.c  what net = bridge needs, and whose rules are in its way
 */
#ifndef NSBOX_DOCTOR_H
#define NSBOX_DOCTOR_H

#include "policy.h"

#include <stdbool.h>
#include <stddef.h>

/* Also the exit code, which is a contract. */
enum nsbox_severity { NSBOX_OK, NSBOX_WARNING, NSBOX_ERROR };

struct nsbox_diagnosis {
	enum nsbox_severity severity;
	const char *check;	/* "pam.outside": stable */
	char *text, *fix;	/* fix: what to write or run, or NULL */
};

struct nsbox_doctor {
	struct nsbox_diagnosis *findings;
	size_t n;
	enum nsbox_severity worst;
	bool enabled;		/* some service has our line */
	/* The networks that boxed users have, as far as there is room. */
	struct nsbox_network networks[16];
	size_t n_networks;
	bool no_memory;
};

/* One finding. A check that is fine is one too: nobody has to guess what was looked at. */
void nsbox_find(struct nsbox_doctor *d, enum nsbox_severity severity, const char *check,
		const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The line to write, of the finding just made. */
void nsbox_find_fix(struct nsbox_doctor *d, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

void nsbox_doctor_kernel(struct nsbox_doctor *d);
/* Runs @probe in a child, which leaves nothing. Returns 0, or the errno that it ended with. */
int nsbox_doctor_try(int (*probe)(const char *), const char *arg);

void nsbox_doctor_idmap(struct nsbox_doctor *d);
/* Where boxed users' homes are: said once for each directory. */
void nsbox_doctor_idmap_homes(struct nsbox_doctor *d, const char *parent);
void nsbox_doctor_cgroup(struct nsbox_doctor *d);
void nsbox_doctor_files(struct nsbox_doctor *d);
void nsbox_doctor_pam(struct nsbox_doctor *d);	/* before around: says what is enabled */
void nsbox_doctor_around(struct nsbox_doctor *d);

void nsbox_doctor_network(struct nsbox_doctor *d);	/* after around: whose networks */

/* Does the service exist, and is our line in its session stack? */
enum nsbox_coverage { NSBOX_NO_SERVICE, NSBOX_OUTSIDE, NSBOX_COVERED };
enum nsbox_coverage nsbox_service_coverage(const char *service);

#endif
