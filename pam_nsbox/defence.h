/* SPDX-License-Identifier: MIT */
/*
 * Each defence has a name, and a test build can leave one out
 * (make WITHOUT=nss BUILD=build/without-nss), because a hostile test proves
 * something only if the attack is seen to work without the defence. A build
 * that leaves one out is for tests alone and says so when the keeper starts.
 */
#ifndef NSBOX_DEFENCE_H
#define NSBOX_DEFENCE_H

#define NSBOX_D_nss 0x0001u		/* name service on "files" before the join */
#define NSBOX_D_datamap 0x0002u		/* homes by the data map, not the image map */
#define NSBOX_D_nosuid 0x0004u		/* nosuid on what comes from the host */
#define NSBOX_D_owner 0x0008u		/* user namespaces charged to the box, not to root */
#define NSBOX_D_ptymax 0x0010u		/* max= of devpts */
#define NSBOX_D_inodes 0x0020u		/* nr_inodes= of every tmpfs */
#define NSBOX_D_cloexec 0x0040u		/* inherited descriptors closed at exec */
#define NSBOX_D_keyring 0x0080u		/* a session keyring of its own */
#define NSBOX_D_seccomp 0x0100u		/* the filter: TIOCSTI, AF_VSOCK, keyctl */
#define NSBOX_D_dumpable 0x0200u	/* PR_SET_DUMPABLE 0 of caller and init */
#define NSBOX_D_deprivilege 0x0400u	/* box root's ids instead of the host's uid 0 */
#define NSBOX_D_usernsmax 0x0800u	/* user.max_user_namespaces = 0 inside */
#define NSBOX_D_symlink 0x1000u		/* no symlink followed in a user's tree */
#define NSBOX_D_groups 0x2000u		/* groups of the host dropped at the join */
#define NSBOX_D_place 0x4000u		/* no symlink followed to where a bind goes */
#define NSBOX_D_device 0x8000u		/* no device that the user cannot open outside */
#define NSBOX_D_isolate 0x10000u		/* isolated ports, no flooding to them */
#define NSBOX_D_spoof 0x20000u		/* a port lets through its own addresses only */
#define NSBOX_D_neighbour 0x40000u	/* the host knows its neighbours, whatever ARP says */
#define NSBOX_D_boundary 0x80000u	/* what egress does not name is out of reach */
#define NSBOX_D_ctlimit 0x100000u	/* connections counted for each box */

#ifdef NSBOX_WITHOUT
#define NSBOX_DEFENCE_(name) NSBOX_D_##name
#define NSBOX_DEFENCE_MASK(name) NSBOX_DEFENCE_(name)
#define NSBOX_LEFT_OUT NSBOX_DEFENCE_MASK(NSBOX_WITHOUT)
#else
#define NSBOX_LEFT_OUT 0u
#endif

/* Is the defence in this build? A constant: the other branch is not compiled in. */
#define nsbox_defends(name) (!(NSBOX_LEFT_OUT & NSBOX_D_##name))

#endif
