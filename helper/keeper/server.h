/* SPDX-License-Identifier: MIT */
/*
 * A keeper's life: answers its first connection, makes the box if the policy
 * says so, serves the sessions that join, and ends with the last of them.
 */
#ifndef NSBOX_SERVER_H
#define NSBOX_SERVER_H

/* Serves until the box is gone. @first is the connection we were started with (taken). */
int nsbox_server_run(int first);

#endif
