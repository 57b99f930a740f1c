/* SPDX-License-Identifier: MIT */
/* Whether the host hands packets on: turned on for boxes, put back after the last. */
#ifndef NSBOX_NET_FORWARD_H
#define NSBOX_NET_FORWARD_H

#include "links.h"

/* Turns on what @network needs; appends what it has changed to @note. */
int nsbox_forward_need(struct nsbox_links *links, const struct nsbox_network *network,
		       char note[NSBOX_ERROR_MAX], struct nsbox_error *err);
/* No box needs it any more: all is as it was before the first. */
void nsbox_forward_restore(void);

#endif
