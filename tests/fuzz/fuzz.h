/* SPDX-License-Identifier: Apache-2.0
 *
 * What the fuzzers share: DPDK's packet buffers without the rest of the datapath, and an
 * input to take bytes from.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
	const uint8_t *at;
	size_t left;
};

/* Fill what with the next bytes; with zeros when there are no more. */
static inline void take(struct input *in, void *what, size_t len)
{
	size_t here = len < in->left ? len : in->left;

	memset(what, 0, len);
	memcpy(what, in->at, here);
	in->at += here;
	in->left -= here;
}

static inline uint8_t take_byte(struct input *in)
{
	uint8_t byte;

	take(in, &byte, 1);
	return byte;
}

/* Start EAL and make vb_pool; ends the program if that fails. */
void fuzz_start(void);

/* Ends the program if a packet buffer was leaked. */
void fuzz_check_buffers(void);

#endif
