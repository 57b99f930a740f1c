/* SPDX-License-Identifier: MIT */
/*
 * The values: how each kind is read from a line, what comes of its templates,
 * and its canonical form. A parser says what to write instead; who calls puts
 * file, line and value in front.
 */
#include "internal.h"

#include <inttypes.h>

#define DAY_SECONDS 86400
#define LINGER_DAYS_MAX 3650
#define MEMORY_MIN (UINT64_C(4) << 20)
/* It must fit into an error's sentence. */
#define TEXT_MAX 200
/* One box's block: 65536 ids, and 1024 for what the user has above 65535. */
#define BLOCK_IDS (65536 + 1024)

/* Where the value of @key is. Each field has the type that its key's parser writes. */
static void *field(const struct nsbox_key_info *key, struct nsbox_decision *d)
{
	return (char *)d + key->at;
}

static const void *field_of(const struct nsbox_key_info *key, const struct nsbox_decision *d)
{
	return (const char *)d + key->at;
}

/* The index of @value in @words, or -1. */
static int find_word(const char *const *words, const char *value)
{
	int i;

	for (i = 0; words && words[i]; i++)
		if (!strcmp(value, words[i]))
			return i;
	return -1;
}

/* "a, b or c"; with @more, to which the caller has an "or", "a, b, c". */
static void join_words(const char *const *words, bool more, char *buf, size_t size)
{
	size_t used = 0, i;

	buf[0] = '\0';
	for (i = 0; words && words[i] && used < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s%s",
					 !i ? "" : words[i + 1] || more ? ", " : " or ", words[i]);
}

static int take_word(const struct nsbox_key_info *key, const char *value, struct nsbox_error *err)
{
	int word = find_word(key->words, value);
	char list[80];

	if (word >= 0)
		return word;
	join_words(key->words, false, list, sizeof(list));
	return nsbox_error_say(err, 0, "write %s", list);
}

/* An enum of the decision: its values are the indices of the words. */
int nsbox_parse_word(const struct nsbox_key_info *key, struct nsbox_decision *d, const char *value,
		     struct nsbox_error *err)
{
	int word = take_word(key, value, err);

	if (word < 0)
		return word;
	*(unsigned int *)field(key, d) = (unsigned int)word;
	return 0;
}

void nsbox_print_word(const struct nsbox_key_info *key, const struct nsbox_decision *d, FILE *to)
{
	(void)fputs(key->words[*(const unsigned int *)field_of(key, d)], to);
}

/* A bool of the decision: the first word is false. */
int nsbox_parse_flag(const struct nsbox_key_info *key, struct nsbox_decision *d, const char *value,
		     struct nsbox_error *err)
{
	int word = take_word(key, value, err);

	if (word < 0)
		return word;
	*(bool *)field(key, d) = word;
	return 0;
}

void nsbox_print_flag(const struct nsbox_key_info *key, const struct nsbox_decision *d, FILE *to)
{
	(void)fputs(key->words[*(const bool *)field_of(key, d)], to);
}

/* A service is a file below /etc/pam.d; a comma or a blank separates two. */
static int check_service(struct nsbox_slice word, struct nsbox_error *err)
{
	size_t i;

	for (i = 0; i < word.len; i++) {
		char c = nsbox_lower(word.s[i]);

		if (c && (strchr("_.+@", c) || (c == '-' && i) || (c >= 'a' && c <= 'z') ||
			  (c >= '0' && c <= '9')))
			continue;
		return nsbox_error_say(err, 0, "\"%s\" is not a service: write names like sshd, su",
				       nsbox_quote(word.s, word.len).s);
	}
	return 0;
}

/* A list of services without the words all and none, which stand alone. */
static int check_services(const char *value, struct nsbox_error *err)
{
	struct nsbox_slice word;
	const char *pos = value;
	bool any = false;
	int r;

	while (nsbox_next_word(&pos, &word)) {
		if (nsbox_same_word(word, "all") || nsbox_same_word(word, "none"))
			return nsbox_error_say(err, 0, "all and none stand alone");
		r = check_service(word, err);
		if (r < 0)
			return r;
		any = true;
	}
	return any ? 0 : nsbox_error_say(err, 0, "write names like sshd, su");
}

int nsbox_parse_services(const struct nsbox_key_info *key, struct nsbox_decision *d,
			 const char *value, struct nsbox_error *err)
{
	(void)key;
	(void)d;
	if (!strcmp(value, "all"))
		return 0;
	if (!strcmp(value, "none"))
		return nsbox_error_say(err, 0, "write all or a list, or action = pass");
	return check_services(value, err);
}

int nsbox_parse_deny_services(const struct nsbox_key_info *key, struct nsbox_decision *d,
			      const char *value, struct nsbox_error *err)
{
	(void)key;
	(void)d;
	if (!strcmp(value, "none"))
		return 0;
	if (!strcmp(value, "all"))
		return nsbox_error_say(err, 0, "write none or a list, or action = deny");
	return check_services(value, err);
}

int nsbox_parse_linger(const struct nsbox_key_info *key, struct nsbox_decision *d,
		       const char *value, struct nsbox_error *err)
{
	static const char units[] = "smhd";
	static const uint64_t seconds[] = { 1, 60, 3600, DAY_SECONDS };
	const uint64_t max = (uint64_t)LINGER_DAYS_MAX * DAY_SECONDS;
	size_t len = strlen(value);
	const char *unit;
	uint64_t n;

	(void)key;
	if (!strcmp(value, "forever")) {
		d->linger_ms = NSBOX_LINGER_FOREVER;
		return 0;
	}
	if (!strcmp(value, "0")) {
		d->linger_ms = 0;
		return 0;
	}
	unit = len ? strchr(units, value[len - 1]) : NULL;
	if (!unit || !nsbox_number(value, len - 1, &n))
		return nsbox_error_say(err, 0, "write a time like 30s, 10m, 2h, 1d, 0 or forever");
	if (n > max / seconds[unit - units])
		return nsbox_error_say(err, 0, "write at most %ud, or forever", LINGER_DAYS_MAX);
	d->linger_ms = n * seconds[unit - units] * 1000;
	return 0;
}

int nsbox_parse_hostname(const struct nsbox_key_info *key, struct nsbox_decision *d,
			 const char *value, struct nsbox_error *err)
{
	int r = nsbox_template_check(value, err);
	size_t i;

	(void)key;
	(void)d;
	if (r < 0)
		return r;
	for (i = 0; value[i]; i++) {
		char c = nsbox_lower(value[i]);

		if (c == '%' && value[i + 1] == '%')
			return nsbox_error_say(err, 0, "a hostname has no %%");
		if (c == '%') {
			i++;
			continue;
		}
		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.')
			continue;
		return nsbox_error_say(err, 0, "write letters, digits, \"-\", \".\" and %%u, %%U, "
				       "%%g, %%h, %%H");
	}
	return 0;
}

int nsbox_put_hostname(const struct nsbox_key_info *key, struct nsbox_draft *draft,
		       const char *text, const struct nsbox_subject *subject,
		       struct nsbox_error *err)
{
	(void)key;
	return nsbox_expand_hostname(text, subject, draft->d.hostname, err);
}

void nsbox_print_hostname(const struct nsbox_key_info *key, const struct nsbox_decision *d,
			  FILE *to)
{
	(void)key;
	(void)fputs(d->hostname, to);
}

/* For people: none, or a sentence that may name them. */
int nsbox_parse_text(const struct nsbox_key_info *key, struct nsbox_decision *d, const char *value,
		     struct nsbox_error *err)
{
	(void)key;
	(void)d;
	if (strlen(value) > TEXT_MAX)
		return nsbox_error_say(err, 0, "write at most %d bytes", TEXT_MAX);
	return nsbox_template_check(value, err);
}

int nsbox_put_text(const struct nsbox_key_info *key, struct nsbox_draft *draft, const char *text,
		   const struct nsbox_subject *subject, struct nsbox_error *err)
{
	if (find_word(key->words, text) >= 0)
		return 0;
	return nsbox_expand_text(text, subject, draft->arena, (char **)field(key, &draft->d), err);
}

/* A path, or one of the key's words. */
int nsbox_parse_path(const struct nsbox_key_info *key, struct nsbox_decision *d, const char *value,
		     struct nsbox_error *err)
{
	char list[80];

	(void)d;
	if (find_word(key->words, value) >= 0)
		return 0;
	join_words(key->words, true, list, sizeof(list));
	return nsbox_path_template_check(value, list, err);
}

/* A word becomes the field's text with the others: see fill_text() in merge.c. */
int nsbox_put_path(const struct nsbox_key_info *key, struct nsbox_draft *draft, const char *text,
		   const struct nsbox_subject *subject, struct nsbox_error *err)
{
	if (find_word(key->words, text) >= 0)
		return 0;
	return nsbox_expand_path(text, subject, draft->arena, (char **)field(key, &draft->d), err);
}

void nsbox_print_path(const struct nsbox_key_info *key, const struct nsbox_decision *d, FILE *to)
{
	(void)fputs(*(char *const *)field_of(key, d), to);
}

/* Its words are what the enum has; a path makes it NSBOX_HOME_DIR. */
int nsbox_parse_home(const struct nsbox_key_info *key, struct nsbox_decision *d, const char *value,
		     struct nsbox_error *err)
{
	int word = find_word(key->words, value);

	d->home = word < 0 ? NSBOX_HOME_DIR : (enum nsbox_home)word;
	return nsbox_parse_path(key, d, value, err);
}

int nsbox_put_home(const struct nsbox_key_info *key, struct nsbox_draft *draft, const char *text,
		   const struct nsbox_subject *subject, struct nsbox_error *err)
{
	draft->d.home_dir = NULL;
	return nsbox_put_path(key, draft, text, subject, err);
}

void nsbox_print_home(const struct nsbox_key_info *key, const struct nsbox_decision *d, FILE *to)
{
	(void)fputs(d->home == NSBOX_HOME_DIR && d->home_dir ? d->home_dir : key->words[d->home],
		    to);
}

/*
 * Never below 65536, where the host's own accounts live, nor 4294967295,
 * which means "no id" to the kernel.
 */
int nsbox_parse_id_range(const struct nsbox_key_info *key, struct nsbox_decision *d,
			 const char *value, struct nsbox_error *err)
{
	const char *dash = strchr(value, '-');
	uint64_t first, last;

	(void)key;
	if (!dash || !nsbox_number(value, (size_t)(dash - value), &first) ||
	    !nsbox_number(dash + 1, strlen(dash + 1), &last))
		return nsbox_error_say(err, 0, "write two numbers like 524288-1878982656");
	if (first < 65536 || last > UINT32_MAX - 1)
		return nsbox_error_say(err, 0, "write numbers from 65536 to 4294967294");
	if (last < first || last - first + 1 < BLOCK_IDS)
		return nsbox_error_say(err, 0, "a box takes %d ids: write a longer range",
				       BLOCK_IDS);
	d->id_first = (uint32_t)first;
	d->id_last = (uint32_t)last;
	return 0;
}

void nsbox_print_id_range(const struct nsbox_key_info *key, const struct nsbox_decision *d,
			  FILE *to)
{
	(void)key;
	(void)fprintf(to, "%u-%u", d->id_first, d->id_last);
}

/* A number from the key's min to its max, or its only word, which is UINT64_MAX. */
int nsbox_parse_count(const struct nsbox_key_info *key, struct nsbox_decision *d,
		      const char *value, struct nsbox_error *err)
{
	uint64_t n;

	if (find_word(key->words, value) == 0)
		n = UINT64_MAX;
	else if (!nsbox_number(value, strlen(value), &n) || n < key->min || n > key->max)
		return nsbox_error_say(err, 0, "write a number from %" PRIu64 " to %" PRIu64 "%s%s",
				       key->min, key->max, key->words ? ", or " : "",
				       key->words ? key->words[0] : "");
	*(uint64_t *)field(key, d) = n;
	return 0;
}

void nsbox_print_count(const struct nsbox_key_info *key, const struct nsbox_decision *d, FILE *to)
{
	uint64_t n = *(const uint64_t *)field_of(key, d);

	if (key->words && n == UINT64_MAX)
		(void)fputs(key->words[0], to);
	else
		(void)fprintf(to, "%" PRIu64, n);
}

int nsbox_parse_pty_max(const struct nsbox_key_info *key, struct nsbox_decision *d,
			const char *value, struct nsbox_error *err)
{
	uint64_t n;

	if (!nsbox_number(value, strlen(value), &n) || n < key->min || n > key->max)
		return nsbox_error_say(err, 0, "write a number from %" PRIu64 " to %" PRIu64,
				       key->min, key->max);
	d->pty_max = (unsigned int)n;
	return 0;
}

void nsbox_print_pty_max(const struct nsbox_key_info *key, const struct nsbox_decision *d, FILE *to)
{
	(void)key;
	(void)fprintf(to, "%u", d->pty_max);
}

/* "2G" as bytes; UINT64_MAX if no number holds it. */
static bool read_size(const char *text, size_t len, uint64_t *ret)
{
	static const char units[] = "kmgt";
	const char *unit = len ? strchr(units, nsbox_lower(text[len - 1])) : NULL;
	uint64_t n;

	if (!nsbox_number(text, unit ? len - 1 : len, &n))
		return false;
	if (unit) {
		unsigned int shift = 10 * (unsigned int)(unit - units + 1);

		n = n > (uint64_t)INT64_MAX >> shift ? UINT64_MAX : n << shift;
	}
	*ret = n;
	return true;
}

/* As a size is written: in the largest unit that divides it. */
static void show_size(uint64_t n, char *buf, size_t size)
{
	static const char units[] = "KMGT";
	size_t unit = 0;

	for (n >>= 10; unit < 3 && !(n & 1023); unit++)
		n >>= 10;
	(void)snprintf(buf, size, "%" PRIu64 "%c", n, units[unit]);
}

int nsbox_size_parse(struct nsbox_slice text, uint64_t min, uint64_t *ret, struct nsbox_error *err)
{
	char least[24];
	uint64_t n = 0;

	if (!read_size(text.s, text.len, &n))
		return nsbox_error_say(err, 0, "write a size like 64M or 2G");
	show_size(min, least, sizeof(least));
	if (n < min)
		return nsbox_error_say(err, 0, "write at least %s", least);
	if (n > INT64_MAX)
		return nsbox_error_say(err, 0, "no machine has that much: write less");
	*ret = n;
	return 0;
}

/* A size of at least the key's min, or its only word, which is NSBOX_LIMIT_NONE. */
int nsbox_parse_size(const struct nsbox_key_info *key, struct nsbox_decision *d, const char *value,
		     struct nsbox_error *err)
{
	const struct nsbox_slice text = { value, strlen(value) };

	if (find_word(key->words, value) == 0) {
		*(uint64_t *)field(key, d) = NSBOX_LIMIT_NONE;
		return 0;
	}
	return nsbox_size_parse(text, key->min, field(key, d), err);
}

static int parse_percent(struct nsbox_decision *d, const char *value, size_t len,
			 struct nsbox_error *err)
{
	uint64_t n;

	if (!nsbox_number(value, len, &n) || n < 1 || n > 100)
		return nsbox_error_say(err, 0, "write 1%% to 100%%");
	d->memory_percent = (unsigned int)n;
	d->memory_max = 0;
	return 0;
}

int nsbox_parse_memory_max(const struct nsbox_key_info *key, struct nsbox_decision *d,
			   const char *value, struct nsbox_error *err)
{
	size_t len = strlen(value);
	uint64_t n = 0;

	(void)key;
	if (!strcmp(value, "none")) {
		d->memory_max = NSBOX_LIMIT_NONE;
		d->memory_percent = 0;
		return 0;
	}
	if (len && value[len - 1] == '%')
		return parse_percent(d, value, len - 1, err);
	if (!read_size(value, len, &n))
		return nsbox_error_say(err, 0, "write a size like 512M, 2G, 50%% or none");
	if (n < MEMORY_MIN)
		return nsbox_error_say(err, 0, "no box fits into that: write at least 4M");
	if (n > INT64_MAX)
		return nsbox_error_say(err, 0, "no machine has that much: write none");
	d->memory_max = n;
	d->memory_percent = 0;
	return 0;
}

void nsbox_print_memory_max(const struct nsbox_key_info *key, const struct nsbox_decision *d,
			    FILE *to)
{
	(void)key;
	if (d->memory_percent)
		(void)fprintf(to, "%u%%", d->memory_percent);
	else if (d->memory_max == NSBOX_LIMIT_NONE)
		(void)fputs("none", to);
	else
		(void)fprintf(to, "%" PRIu64, d->memory_max);
}

/* As umask(1) takes it: what is not octal would mean another number to half its readers. */
int nsbox_parse_umask(const struct nsbox_key_info *key, struct nsbox_decision *d, const char *value,
		      struct nsbox_error *err)
{
	size_t len = strlen(value), i;
	uint32_t bits = 0;

	if (find_word(key->words, value) == 0) {
		d->umask = NSBOX_UMASK_CALLER;
		return 0;
	}
	for (i = 0; i < len && value[i] >= '0' && value[i] <= '7'; i++)
		bits = bits << 3 | (uint32_t)(value[i] - '0');
	if (i < len || len < 3 || len > 4 || bits > 0777)
		return nsbox_error_say(err, 0, "write three octal digits like 022, or %s",
				       key->words[0]);
	d->umask = bits;
	return 0;
}

void nsbox_print_umask(const struct nsbox_key_info *key, const struct nsbox_decision *d, FILE *to)
{
	if (d->umask == NSBOX_UMASK_CALLER)
		(void)fputs(key->words[0], to);
	else
		(void)fprintf(to, "%03o", d->umask);
}

int nsbox_parse_caps(const struct nsbox_key_info *key, struct nsbox_decision *d, const char *value,
		     struct nsbox_error *err)
{
	(void)key;
	return nsbox_caps_parse(value, &d->caps, err);
}

void nsbox_print_caps(const struct nsbox_key_info *key, const struct nsbox_decision *d, FILE *to)
{
	char list[1024];

	(void)key;
	nsbox_caps_print(d->caps, list, sizeof(list));
	(void)fputs(list, to);
}

/* The key's max says which list it is. */
int nsbox_parse_list(const struct nsbox_key_info *key, struct nsbox_decision *d, const char *value,
		     struct nsbox_error *err)
{
	(void)d;
	return nsbox_list_check((enum nsbox_list)key->max, value, err);
}

static size_t *count_of(struct nsbox_decision *d, enum nsbox_list list)
{
	switch (list) {
	case NSBOX_LIST_BIND:
		return &d->n_bind;
	case NSBOX_LIST_TMPFS:
		return &d->n_tmpfs;
	case NSBOX_LIST_DEVICE:
		return &d->n_device;
	case NSBOX_LIST_MASK:
		return &d->n_mask;
	default:
		return &d->n_env;
	}
}

int nsbox_put_list(const struct nsbox_key_info *key, struct nsbox_draft *draft, const char *text,
		   const struct nsbox_subject *subject, struct nsbox_error *err)
{
	enum nsbox_list list = (enum nsbox_list)key->max;

	return nsbox_list_read(list, text, subject, draft->arena, field(key, &draft->d),
			       count_of(&draft->d, list), err);
}

void nsbox_print_list(const struct nsbox_key_info *key, const struct nsbox_decision *d, FILE *to)
{
	nsbox_list_print((enum nsbox_list)key->max, d, to);
}
