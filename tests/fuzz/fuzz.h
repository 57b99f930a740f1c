/* SPDX-License-Identifier: MIT */
/* What a fuzz target is to libFuzzer, and to replay.c. */
#ifndef NSBOX_FUZZ_H
#define NSBOX_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
