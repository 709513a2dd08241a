/* SPDX-License-Identifier: Apache-2.0
 *
 * The content of rings: any bytes as a guest's memory, with two rings in it, looked at
 * twice, with changes in between.
 *
 * The input: what was negotiated, how large the rings are, then memory from its start
 * on.  Descriptors point into it because addresses are cut to its size, all but one in
 * eight, which are left as they are.
 */
#include <stdlib.h>

#include "core/offload.h"
#include "core/runtime.h"
#include "fuzz.h"
#include "vhost/ring.h"

#define BASE 0x40000000ULL
#define MEMORY 0x18000u /* in two regions, the second a quarter */
#define FIRST 0x12000u

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_start();
	return 0;
}

/* A ring at offset of memory; returns the offset behind it. */
static uint32_t place(struct vhost_vring *v, uint8_t *memory, uint32_t offset)
{
	v->desc = (struct vring_desc *)(memory + offset);
	offset += v->size * sizeof(*v->desc);
	v->avail = (struct vring_avail *)(memory + offset);
	offset += RTE_ALIGN_CEIL(sizeof(*v->avail) + (v->size + 1) * 2, 16);
	v->used = (struct vring_used *)(memory + offset);
	offset += sizeof(*v->used) + v->size * sizeof(*v->used->ring) + 2;
	return RTE_ALIGN_CEIL(offset, 16);
}

/* Else hardly a descriptor would point anywhere. */
static void aim(struct vhost_vring *v, struct input *in)
{
	uint8_t keep = take_byte(in);

	for (uint32_t i = 0; i < v->size; i++) {
		if ((i & 7) == (keep & 7))
			continue;
		v->desc[i].addr = BASE + v->desc[i].addr % MEMORY;
		v->desc[i].len %= 4096;
	}
	v->avail->idx %= v->size + 2;
}

static void run(struct vhost_ring *rings, const struct vhost_vring *v, struct vb_counters *row)
{
	struct rte_mbuf *pkts[VB_BURST];
	uint16_t n = vhost_ring_receive(&rings[1], &v[1], row, pkts, VB_BURST);

	/* What came goes back, as a switch might have it. */
	vhost_ring_send(&rings[0], &v[0], row, pkts, n);
	vhost_ring_release(&rings[1], &v[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t *first = malloc(FIRST), *second = malloc(MEMORY - FIRST), bits[16] = {0};
	struct vhost_memory memory = {
		.nb_regions = 2,
		.regions = {{.offer = {.gpa = BASE, .size = FIRST}, .at = first},
			{.offer = {.gpa = BASE + FIRST, .size = MEMORY - FIRST}, .at = second}},
	};
	struct vhost_log log = {.bits = (uint8_t *)((uintptr_t)bits - BASE / 4096 / 8),
		.nb_pages = BASE / 4096 + 8 * sizeof(bits)};
	uint8_t flags = take_byte(&in), order = take_byte(&in);
	struct vhost_vring v[2];
	struct vhost_ring rings[2] = {0};
	struct vb_counters row = {0};

	for (int i = 0; i < 2; i++)
		v[i] = (struct vhost_vring){
			.size = 1 << (order >> i * 4) % 9,
			.header_len = flags & 1 ? 12 : 10,
			.indirect = flags & 2,
			.event_idx = flags & 4,
			.mergeable = (flags & 9) == 9,
			.offloads = flags & 64 ? VB_OFFLOAD_ALL : 0,
			.log = flags & 16 ? &log : NULL,
			.log_used = flags & 32 ? BASE : VHOST_NO_LOG,
			.memory = &memory,
			.call = -1,
		};
	take(&in, first, FIRST);
	take(&in, second, MEMORY - FIRST);
	place(&v[1], first, place(&v[0], first, 0));
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 2; i++) {
			aim(&v[i], &in);
			vhost_ring_reset(&rings[i], 0);
		}
		run(rings, v, &row);
		run(rings, v, &row);
	}
	fuzz_check_buffers();
	free(first);
	free(second);
	return 0;
}
