/* SPDX-License-Identifier: MIT */
/* A PAM module that asks every database of the name service for what is in none of them. */
#define _GNU_SOURCE
#include <aliases.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/ether.h>
#include <pwd.h>
#include <shadow.h>
#include <security/pam_modules.h>

int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	struct ether_addr address;
	gid_t group;
	int n = 1;

	(void)pamh, (void)flags, (void)argc, (void)argv;
	(void)getpwnam("nobody-has-this-name");
	(void)getgrnam("nobody-has-this-name");
	(void)getspnam("nobody-has-this-name");
	(void)getgrouplist("nobody-has-this-name", 0, &group, &n);
	(void)getservbyname("nobody-has-this-name", "tcp");
	(void)getprotobyname("nobody-has-this-name");
	(void)getnetbyname("nobody-has-this-name");
	(void)getaliasbyname("nobody-has-this-name");
	(void)innetgr("nobody-has-this-name", "a", "b", "c");
	(void)ether_hostton("nobody-has-this-name", &address);
	(void)gethostbyname("nobody-has-this-name");
	return PAM_IGNORE;
}

int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return pam_sm_open_session(pamh, flags, argc, argv);
}
