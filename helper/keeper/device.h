/* SPDX-License-Identifier: MIT */
/*
 * device = ...: nodes in the box's own /dev for devices of the host. devtmpfs
 * has no idmapped mounts, so each is a node of its own with mapped ids. Runs on
 * the host, as root.
 */
#ifndef NSBOX_DEVICE_H
#define NSBOX_DEVICE_H

#include "idmap.h"
#include "notes.h"
#include "policy.h"

/* Makes in @dev, the box's new /dev, what every box has there; the nodes are @owner's. */
int nsbox_devices_begin(int dev, uint32_t owner, struct nsbox_error *err);

/*
 * Makes in @dev the nodes that policy->device names. A
 * device that would give the host away refuses the box, with the reason; one
 * that is not there, or that the user cannot open on the host, is left out.
 */
int nsbox_devices_make(int dev, const struct nsbox_decision *policy,
		       const struct nsbox_subject *subject, const struct nsbox_ids *ids,
		       struct nsbox_notes *notes, struct nsbox_error *err);

/* Would @pattern refuse every box on this machine? Then negative, with the reason. For nsbox check. */
int nsbox_device_check(const char *pattern, struct nsbox_error *err);

#endif
