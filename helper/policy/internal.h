/* SPDX-License-Identifier: MIT */
/*
 * What the files of helper/policy/ share and nobody else sees: the indexed
 * file, a decision in the making, and the small text tools.
 *
 *   load.c    opens and reads the files, if they may be trusted
 *   parse.c   finds the sections of a file
 *   section.c reads the lines of one of them, and the profile that it names
 *   keys.c    the one table of keys
 *   values.c  the parsers of their values, and the values' canonical form
 *   lists.c   the values that are lists: bind, tmpfs, device, mask, env
 *   net.c     net and the keys about it; addresses
 *   network.c the section [network NAME]
 *   caps.c    capability lists
 *   expand.c  %u and its like in hostname, paths and lists
 *   merge.c   which sections concern a subject, in which order, and the answer
 *   lint.c    what nsbox check finds in the files alone
 *   shape.c   the text that two logins must have in common to share a box
 *   text.c    quoting for messages, UTF-8, numbers, "did you mean"
 *   arena.c   strings with one owner
 */
#ifndef NSBOX_POLICY_INTERNAL_H
#define NSBOX_POLICY_INTERNAL_H

#include "policy.h"

#include <stdio.h>
#include <string.h>

#define NSBOX_LINE_MAX 4096
#define NSBOX_POLICY_BYTES_MAX (16U << 20)
/* A file name and a quoted piece of the administrator's text, in a sentence. */
#define NSBOX_SHOWN_MAX 64
#define NSBOX_QUOTE_MAX 40

/* Text that is not terminated: a part of the file. */
struct nsbox_slice {
	const char *s;
	size_t len;
};

/* arena.c */
struct nsbox_arena;
struct nsbox_arena *nsbox_arena_new(void);
void nsbox_arena_free(struct nsbox_arena *arena);
char *nsbox_arena_alloc(struct nsbox_arena *arena, size_t size);
char *nsbox_arena_copy(struct nsbox_arena *arena, const char *s, size_t len);
/* All bytes zero. */
void *nsbox_arena_array(struct nsbox_arena *arena, size_t n, size_t size);

static inline void cleanup_arenap(struct nsbox_arena **arena)
{
	nsbox_arena_free(*arena);
}

#define cleanup_arena __attribute__((cleanup(cleanup_arenap)))

/* text.c */
enum nsbox_text_fault {
	NSBOX_TEXT_GOOD,
	NSBOX_TEXT_NUL,
	NSBOX_TEXT_CONTROL,
	NSBOX_TEXT_NOT_UTF8,
};

/* A piece of foreign text made fit for a sentence: no control characters, cut. */
struct nsbox_quote {
	char s[NSBOX_QUOTE_MAX];
};

static inline bool nsbox_is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static inline char nsbox_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static inline struct nsbox_slice nsbox_trim(struct nsbox_slice text)
{
	while (text.len && nsbox_is_blank(text.s[0])) {
		text.s++;
		text.len--;
	}
	while (text.len && nsbox_is_blank(text.s[text.len - 1]))
		text.len--;
	return text;
}

static inline bool nsbox_same_word(struct nsbox_slice a, const char *b)
{
	return a.len == strlen(b) && !memcmp(a.s, b, a.len);
}

struct nsbox_quote nsbox_quote(const char *s, size_t len);
struct nsbox_quote nsbox_quote_string(const char *s);
/* The name of a file for a sentence: its end, which says more than its beginning. */
void nsbox_show_name(const char *file, char *buf, size_t size);
enum nsbox_text_fault nsbox_text_check(const char *s, size_t len);
bool nsbox_is_digits(const char *s, size_t len);
bool nsbox_number(const char *s, size_t len, uint64_t *ret);
/* The next word of a list by comma or blank; false at the end. */
bool nsbox_next_word(const char **pos, struct nsbox_slice *ret);
/* The entry of @nth (NULL ends it) most like @word, or NULL if none is. */
const char *nsbox_nearest(struct nsbox_slice word, const char *(*nth)(size_t i));

/* caps.c */
int nsbox_caps_parse(const char *value, uint64_t *caps, struct nsbox_error *err);
/* Names in the order of their numbers, or "none". @size of at least 1024 holds all. */
void nsbox_caps_print(uint64_t caps, char *buf, size_t size);

/* keys.c */
struct nsbox_draft {
	struct nsbox_decision d;		/* numbers and words are in force at once */
	const char *text[NSBOX_KEY_COUNT];	/* as written; templates not expanded */
	struct nsbox_arena *arena;
	unsigned int network_keys;		/* bit for each key of [network] that was read */
};

struct nsbox_key_info {
	const char *name;
	const char *fallback;			/* the default, as one would write it */
	bool shapes;				/* who differs in it cannot share a box */
	int (*parse)(const struct nsbox_key_info *key, struct nsbox_decision *d, const char *value,
		     struct nsbox_error *err);
	/* NULL: as written */
	void (*print)(const struct nsbox_key_info *key, const struct nsbox_decision *d, FILE *to);
	/* NULL: no template in it. From the text to what comes of it for @subject. */
	int (*expand)(const struct nsbox_key_info *key, struct nsbox_draft *draft, const char *text,
		      const struct nsbox_subject *subject, struct nsbox_error *err);
	size_t at;				/* where in the decision the value is */
	const char *const *words;		/* the values that are words, NULL ends them */
	uint64_t min, max;			/* of a number or size; of a list: which one */
};

const struct nsbox_key_info *nsbox_key_info(enum nsbox_key key);
bool nsbox_key_find(struct nsbox_slice name, enum nsbox_key *ret);
/* The keys, and behind them profile, which only a section has. */
const char *nsbox_key_nth(size_t i);
/* The canonical form: two ways to write the same give the same text. */
void nsbox_key_print(const struct nsbox_decision *d, enum nsbox_key key, FILE *to);
/* Puts what comes of all templates into the draft. Ends with the first error's key and sentence. */
int nsbox_draft_expand(struct nsbox_draft *draft, const struct nsbox_subject *subject,
		       enum nsbox_key *ret_key, struct nsbox_error *err);
int nsbox_draft_set(struct nsbox_draft *draft, enum nsbox_key key, const char *value,
		    const struct nsbox_origin *origin, struct nsbox_error *err);
bool nsbox_services_has(const char *list, const char *service);

/*
 * places.c: does @d fit this account? Not if its home would hide what a box needs,
 * or is hidden itself. Negative, and the key whose value that is.
 */
int nsbox_account_check(const struct nsbox_decision *d, const struct nsbox_subject *subject,
			enum nsbox_key *ret_key, struct nsbox_error *err);

/* values.c: what the table of keys is made of. All of the types above. */
typedef int nsbox_parse_fn(const struct nsbox_key_info *key, struct nsbox_decision *d,
			   const char *value, struct nsbox_error *err);
typedef void nsbox_print_fn(const struct nsbox_key_info *key, const struct nsbox_decision *d,
			    FILE *to);
typedef int nsbox_expand_fn(const struct nsbox_key_info *key, struct nsbox_draft *draft,
			    const char *text, const struct nsbox_subject *subject,
			    struct nsbox_error *err);
nsbox_parse_fn nsbox_parse_word, nsbox_parse_flag, nsbox_parse_count, nsbox_parse_size,
	nsbox_parse_text, nsbox_parse_services, nsbox_parse_deny_services, nsbox_parse_linger,
	nsbox_parse_hostname, nsbox_parse_path, nsbox_parse_home, nsbox_parse_pty_max,
	nsbox_parse_id_range, nsbox_parse_memory_max, nsbox_parse_umask, nsbox_parse_caps,
	nsbox_parse_list, nsbox_parse_net, nsbox_parse_address, nsbox_parse_publish,
	nsbox_parse_egress, nsbox_parse_bandwidth, nsbox_parse_dns;
nsbox_print_fn nsbox_print_word, nsbox_print_flag, nsbox_print_count, nsbox_print_path,
	nsbox_print_hostname, nsbox_print_home, nsbox_print_pty_max, nsbox_print_id_range,
	nsbox_print_memory_max, nsbox_print_umask, nsbox_print_caps, nsbox_print_list,
	nsbox_print_net, nsbox_print_address, nsbox_print_publish, nsbox_print_egress,
	nsbox_print_bandwidth, nsbox_print_dns;
nsbox_expand_fn nsbox_put_text, nsbox_put_hostname, nsbox_put_path, nsbox_put_home, nsbox_put_list;
/* What a tmpfs is at least: with size=0 it would have no limit at all. */
#define NSBOX_TMPFS_MIN (UINT64_C(64) << 10)
/* "64M" into bytes, at least @min. */
int nsbox_size_parse(struct nsbox_slice text, uint64_t min, uint64_t *ret, struct nsbox_error *err);

/* lists.c */
enum nsbox_list {
	NSBOX_LIST_BIND,
	NSBOX_LIST_TMPFS,
	NSBOX_LIST_DEVICE,
	NSBOX_LIST_MASK,
	NSBOX_LIST_ENV,
};

int nsbox_list_check(enum nsbox_list list, const char *value, struct nsbox_error *err);
/* @ret_items: the address of the pointer to the items, which are the arena's. */
int nsbox_list_read(enum nsbox_list list, const char *value, const struct nsbox_subject *subject,
		    struct nsbox_arena *arena, void *ret_items, size_t *ret_n,
		    struct nsbox_error *err);
void nsbox_list_print(enum nsbox_list list, const struct nsbox_decision *d, FILE *to);

/* net.c */
bool nsbox_address_parse(struct nsbox_slice text, struct nsbox_address *ret);
/* "10.88.0.0/16"; without a length it is a single address. */
bool nsbox_prefix_parse(struct nsbox_slice text, struct nsbox_prefix *ret);
void nsbox_address_print(const struct nsbox_address *address, FILE *to);
void nsbox_prefix_print(const struct nsbox_prefix *prefix, FILE *to);
bool nsbox_prefix_has(const struct nsbox_prefix *prefix, const struct nsbox_address *address);
bool nsbox_prefix_overlaps(const struct nsbox_prefix *a, const struct nsbox_prefix *b);
/* Do the keys about the network go with net? The sentence is about *ret_key. */
int nsbox_net_check(const struct nsbox_decision *d, enum nsbox_key *ret_key,
		    struct nsbox_error *err);

/* network.c */
/* The keys of [network]; NULL behind the last. */
const char *nsbox_network_key_nth(size_t i);
/* A line of [network]; @key is a number from 0. The sentence is without place. */
int nsbox_network_set(struct nsbox_draft *draft, size_t key, const char *value,
		      struct nsbox_error *err);
/*
 * Puts [network NAME] as d.net_name says into d.network, and checks it. A
 * sentence that begins with its own file and line says so by *ret_placed.
 */
int nsbox_network_find(const struct nsbox_policy *policy, struct nsbox_draft *draft,
		       bool *ret_placed, struct nsbox_error *err);
/* One line, the same for networks that are the same. */
void nsbox_network_print(const struct nsbox_network *network, FILE *to);

/* expand.c */
int nsbox_template_check(const char *text, struct nsbox_error *err);
int nsbox_path_check(const char *path, struct nsbox_error *err);
/* An absolute path, or one that will be. @words: what else one may write, for the sentence. */
int nsbox_path_template_check(const char *text, const char *words, struct nsbox_error *err);
int nsbox_expand_hostname(const char *text, const struct nsbox_subject *subject, char ret[65],
			  struct nsbox_error *err);
int nsbox_expand_path(const char *text, const struct nsbox_subject *subject,
		      struct nsbox_arena *arena, char **ret, struct nsbox_error *err);
int nsbox_expand_text(const char *text, const struct nsbox_subject *subject,
		      struct nsbox_arena *arena, char **ret, struct nsbox_error *err);

/* parse.c */
enum nsbox_section_kind {
	NSBOX_SECTION_PREAMBLE,			/* what stands above the first header */
	NSBOX_SECTION_DEFAULTS,
	NSBOX_SECTION_PROFILE,
	NSBOX_SECTION_GROUP,
	NSBOX_SECTION_USER,
	NSBOX_SECTION_NETWORK,
	NSBOX_SECTION_BAD,			/* the header is wrong: concerns everyone */
};

/* Offsets into the text; 16 MiB fit. */
struct nsbox_section {
	enum nsbox_section_kind kind;
	uint32_t line;				/* see nsbox_section_line() */
	uint32_t head, body, end;
	uint32_t name, name_len;
	uint32_t hash;				/* of kind and name */
	uint32_t twin;				/* index of another of the same name, 0: none */
};

/* One file. */
struct nsbox_source {
	char *file;
	char shown[NSBOX_SHOWN_MAX];		/* the file's name for sentences, cut in front */
	char *text;
	size_t size;
	char *owner;				/* of a file of users.d: its user; or NULL */
	struct nsbox_section *sections;		/* in file order; [0] is the preamble */
	size_t n_sections, max_sections;
	uint32_t *slots;			/* hash of kind and name to index, 0: free */
	size_t n_slots;				/* a power of two */
	uint32_t defaults, first_bad;		/* index, 0: there is none */
};

/* Whose sections are wanted: of most others it is known by their names' hashes. */
struct nsbox_filter {
	uint64_t bits[64];
};

struct nsbox_policy {
	bool is_filtered;
	struct nsbox_filter filter;
	struct nsbox_source **sources;		/* nsbox.conf, then nsbox.conf.d by name */
	size_t n_sources;
	char *users_dir;			/* users.d, or NULL */
	int users_fd;				/* of that, or -EBADF */
};

/* Whoever wants all errors of a section and not just the first. */
struct nsbox_complaints {
	void (*each)(const struct nsbox_origin *where, const char *sentence, void *data);
	void *data;
	size_t n;
};

static inline void nsbox_complain(struct nsbox_complaints *complaints,
				  const struct nsbox_origin *where, const char *sentence)
{
	complaints->n++;
	complaints->each(where, sentence, complaints->data);
}

/* load.c */
struct nsbox_policy *nsbox_policy_new(void);
/* Takes @source whatever the result; NULL is no memory. */
int nsbox_policy_add(struct nsbox_policy *policy, struct nsbox_source *source,
		     struct nsbox_error *err);
/* Is a file of that name in nsbox.conf.d or users.d policy? */
bool nsbox_policy_is_part(const char *name);
/*
 * Reads users.d/NAME.conf into *ret, NULL if there is none. Also what looks
 * like a user's name and is none, "../x", has none.
 */
int nsbox_policy_user_source(const struct nsbox_policy *policy, const char *name,
			     struct nsbox_source **ret, struct nsbox_error *err);

/* What sections of users and groups may concern @subject. */
void nsbox_filter_make(const struct nsbox_subject *subject, struct nsbox_filter *ret);
bool nsbox_filter_has(const struct nsbox_filter *filter, const struct nsbox_filter *part);
/*
 * Takes @text (from malloc, @size bytes) whatever the result. With a @filter
 * the sections of users and groups that are not in it are left out.
 */
int nsbox_source_parse(const char *file, char *text, size_t size,
		       const struct nsbox_filter *filter, struct nsbox_source **ret,
		       struct nsbox_error *err);
void nsbox_source_free(struct nsbox_source *source);
/* 0: no such section */
uint32_t nsbox_source_find(const struct nsbox_source *source, enum nsbox_section_kind kind,
			   const char *name, size_t len);
/* The line of the header, from 1; 0 of the preamble. */
uint32_t nsbox_section_line(const struct nsbox_source *source, uint32_t index);
/* Counts all of them at once, for whoever will ask for all. */
void nsbox_source_number(struct nsbox_source *source);
/* The line at *pos without its end; *pos goes behind it. */
struct nsbox_slice nsbox_next_line(const struct nsbox_source *source, size_t end, size_t *pos);
/* What no line may be, whatever it says. */
int nsbox_line_check(struct nsbox_slice line, struct nsbox_error *err);

struct nsbox_header {
	enum nsbox_section_kind kind;
	struct nsbox_slice name;
};

/* "[user alice]", trimmed. @err may be NULL. */
int nsbox_header_parse(struct nsbox_slice line, struct nsbox_header *ret, struct nsbox_error *err);
#define NSBOX_SECTION_HINT "write [defaults], [profile NAME], [group NAME], [user NAME] " \
	"or [network NAME]"

static inline void cleanup_sourcep(struct nsbox_source **source)
{
	nsbox_source_free(*source);
}

#define cleanup_source __attribute__((cleanup(cleanup_sourcep)))

/* section.c */
/*
 * Puts the keys of a section into @draft. With @complaints NULL it ends at the
 * first error, with the sentence in @err, and the profile that it names lies
 * beneath; otherwise it ends only for lack of memory, and reads no profile.
 */
int nsbox_section_apply(const struct nsbox_policy *policy, const struct nsbox_source *source,
			uint32_t index, struct nsbox_draft *draft,
			struct nsbox_complaints *complaints, struct nsbox_error *err);
/* The value of the section's first line "profile = NAME"; false if it has none. */
bool nsbox_section_profile(const struct nsbox_source *source, uint32_t index, unsigned int *line,
			   struct nsbox_slice *ret);
/* Is there a profile of that name? The sentence is without place. */
int nsbox_profile_check(const struct nsbox_policy *policy, struct nsbox_slice name,
			struct nsbox_error *err);
/* Puts the keys of a profile, which is there, into @draft, as beneath those of @user, a title. */
int nsbox_profile_apply(const struct nsbox_policy *policy, struct nsbox_slice name,
			const char *user, struct nsbox_draft *draft, struct nsbox_error *err);
/* What is wrong with the header itself; 0 if nothing is. */
int nsbox_section_header_error(const struct nsbox_source *source, uint32_t index,
			       struct nsbox_error *err);

/* merge.c */
/* The errors of one file, in its order. Negative only for lack of memory. */
int nsbox_source_errors(const struct nsbox_policy *policy, struct nsbox_source *source,
			struct nsbox_complaints *complaints, struct nsbox_error *err);

#endif
