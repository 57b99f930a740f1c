/* SPDX-License-Identifier: MIT */
/*
 * The ways through a stack (pam.conf(5), "control"): see pamd.h. A jump counts
 * the rules of its own substack, a substack within it as one; "done" in a
 * substack ends that alone. All jumps go forward, so one pass finds all ways.
 */
#include "pamd.h"

#include <errno.h>
#include <stdlib.h>

/* How each place, the end included, can be come to: the rule before it; -1: no way. */
struct ways {
	size_t n;
	long *from;	/* n + 1 of them; FIRST: the beginning */
};

enum { NOWHERE = -1, FIRST = -2 };

static void come(struct ways *w, size_t to, size_t from)
{
	if (w->from[to] == NOWHERE)
		w->from[to] = (long)from;
}

/* The first place after @i that is in no substack deeper than @level, or the end. */
static size_t past(const struct nsbox_pam_stack *s, size_t i, unsigned int level)
{
	while (i < s->n && s->rules[i].level > level)
		i++;
	return i;
}

/* The end of the substack that rule @i is in. */
static size_t end_of_level(const struct nsbox_pam_stack *s, size_t i)
{
	unsigned int level = s->rules[i].level;

	while (i < s->n && s->rules[i].level >= level)
		i++;
	return i;
}

/* Where a jump over @count rules leads; a jump out of the stack is a refusal: 0. */
static size_t target(const struct nsbox_pam_stack *s, size_t i, unsigned int count)
{
	unsigned int level = s->rules[i].level;
	size_t to = i + 1;

	for (; count > 0; count--) {
		if (to >= s->n || s->rules[to].level < level)
			return 0;
		to = past(s, to + 1, level);
	}
	return to;
}

static void leave(const struct nsbox_pam_stack *s, struct ways *w, size_t i)
{
	const struct nsbox_pam_control *c = &s->rules[i].control;

	if (c->next)
		come(w, i + 1, i);
	if (c->done)
		come(w, s->rules[i].level ? end_of_level(s, i) : s->n, i);
	for (unsigned int count = 1; count <= NSBOX_PAM_JUMP_MAX; count++) {
		size_t to = c->jumps >> count & 1 ? target(s, i, count) : 0;

		if (to)
			come(w, to, i);
	}
}

/* All ways from place @start; none leads through a rule of ours if @not_ours. */
static int walk(const struct nsbox_pam_stack *s, size_t start, bool not_ours, struct ways *w)
{
	w->n = s->n;
	w->from = malloc((s->n + 1) * sizeof(*w->from));
	if (!w->from)
		return -ENOMEM;
	for (size_t i = 0; i <= s->n; i++)
		w->from[i] = NOWHERE;
	w->from[start] = FIRST;
	for (size_t i = start; i < s->n; i++)
		if (w->from[i] != NOWHERE && !(not_ours && s->rules[i].ours))
			leave(s, w, i);
	return 0;
}

const struct nsbox_pam_rule *nsbox_pam_stack_ours(const struct nsbox_pam_stack *stack)
{
	for (size_t i = stack->n; i > 0; i--)
		if (stack->rules[i - 1].ours)
			return &stack->rules[i - 1];
	return NULL;
}

const struct nsbox_pam_rule *nsbox_pam_stack_bypass(const struct nsbox_pam_stack *stack)
{
	const struct nsbox_pam_rule *ours = nsbox_pam_stack_ours(stack), *found = NULL;
	struct ways w;

	if (stack->n == 0)
		return NULL;
	if (walk(stack, 0, true, &w) < 0)
		return &stack->rules[0];	/* not known to be good */
	if (w.from[w.n] >= 0)
		found = &stack->rules[w.from[w.n]];
	/* What comes after ours is not to blame, but where the way left for it. */
	while (ours && found > ours && w.from[found - stack->rules] >= 0)
		found = &stack->rules[w.from[found - stack->rules]];
	free(w.from);
	return found;
}

const struct nsbox_pam_rule *nsbox_pam_stack_after(const struct nsbox_pam_stack *stack)
{
	const struct nsbox_pam_rule *ours = nsbox_pam_stack_ours(stack), *found = NULL;
	struct ways w;

	if (!ours || walk(stack, (size_t)(ours - stack->rules), false, &w) < 0)
		return NULL;
	for (size_t i = (size_t)(ours - stack->rules) + 1; i < stack->n && !found; i++)
		if (w.from[i] != NOWHERE)
			found = &stack->rules[i];
	free(w.from);
	return found;
}
