/* SPDX-License-Identifier: MIT */
/* nsbox doctor: is this machine fit for boxes, and are the boxes closed? See doctor.h. */
#include "doctor.h"
#include "cli.h"
#include "json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const words[] = {
	[NSBOX_OK] = "ok", [NSBOX_WARNING] = "warning", [NSBOX_ERROR] = "error",
};

void nsbox_find(struct nsbox_doctor *d, enum nsbox_severity severity, const char *check,
		const char *fmt, ...)
{
	struct nsbox_diagnosis *f = realloc(d->findings, (d->n + 1) * sizeof(*f));
	va_list ap;

	if (!f) {
		d->no_memory = true;
		return;
	}
	d->findings = f;
	f = &f[d->n++];
	*f = (struct nsbox_diagnosis){ .severity = severity, .check = check };
	va_start(ap, fmt);
	if (vasprintf(&f->text, fmt, ap) < 0) {
		f->text = NULL;
		d->no_memory = true;
	}
	va_end(ap);
	if (severity > d->worst)
		d->worst = severity;
}

void nsbox_find_fix(struct nsbox_doctor *d, const char *fmt, ...)
{
	struct nsbox_diagnosis *f = d->n ? &d->findings[d->n - 1] : NULL;
	va_list ap;

	if (!f || f->fix)
		return;
	va_start(ap, fmt);
	if (vasprintf(&f->fix, fmt, ap) < 0) {
		f->fix = NULL;
		d->no_memory = true;
	}
	va_end(ap);
}

static size_t count(const struct nsbox_doctor *d, enum nsbox_severity severity)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n; i++)
		n += d->findings[i].severity == severity;
	return n;
}

static void print_text(const struct nsbox_doctor *d)
{
	for (size_t i = 0; i < d->n; i++) {
		const struct nsbox_diagnosis *f = &d->findings[i];

		(void)printf("%-8s %-18s %s\n", words[f->severity], f->check, f->text);
		if (f->fix)
			(void)printf("%-8s %-18s   -> %s\n", "", "", f->fix);
	}
	(void)printf("\nverdict: %s (%zu errors, %zu warnings, %zu ok)\n", words[d->worst],
		     count(d, NSBOX_ERROR), count(d, NSBOX_WARNING), count(d, NSBOX_OK));
}

static void print_json(const struct nsbox_doctor *d)
{
	struct nsbox_json j = { .to = stdout };

	nsbox_json_open(&j, NULL, '{');
	nsbox_json_string(&j, "verdict", words[d->worst]);
	nsbox_json_number(&j, "errors", (int64_t)count(d, NSBOX_ERROR));
	nsbox_json_number(&j, "warnings", (int64_t)count(d, NSBOX_WARNING));
	nsbox_json_open(&j, "findings", '[');
	for (size_t i = 0; i < d->n; i++) {
		nsbox_json_open(&j, NULL, '{');
		nsbox_json_string(&j, "severity", words[d->findings[i].severity]);
		nsbox_json_string(&j, "check", d->findings[i].check);
		nsbox_json_string(&j, "message", d->findings[i].text);
		nsbox_json_string(&j, "fix", d->findings[i].fix);
		nsbox_json_close(&j, '}');
	}
	nsbox_json_close(&j, ']');
	nsbox_json_close(&j, '}');
}

static void drop(struct nsbox_doctor *d)
{
	for (size_t i = 0; i < d->n; i++) {
		free(d->findings[i].text);
		free(d->findings[i].fix);
	}
	free(d->findings);
}

int nsbox_cli_doctor(int argc, char **argv)
{
	struct nsbox_doctor d = { .worst = NSBOX_OK };
	bool json = argc == 2 && strcmp(argv[1], "--json") == 0;
	int status;

	if (argc != 1 && !json)
		return nsbox_cli_usage("doctor [--json]");
	nsbox_doctor_kernel(&d);
	nsbox_doctor_idmap(&d);
	nsbox_doctor_cgroup(&d);
	nsbox_doctor_files(&d);
	nsbox_doctor_pam(&d);
	nsbox_doctor_around(&d);
	nsbox_doctor_network(&d);
	if (d.no_memory) {
		struct nsbox_error err;

		(void)nsbox_error_set(&err, ENOMEM, "writing down what was found");
		status = nsbox_cli_fail(NSBOX_ERROR, &err);
	} else {
		(json ? print_json : print_text)(&d);
		status = (int)d.worst;
	}
	drop(&d);
	return status;
}
