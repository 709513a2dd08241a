/* SPDX-License-Identifier: Apache-2.0
 *
 * What frames ask to be done: any header, before any bytes.  What is taken is finished
 * for somebody who can do nothing, or less than all.
 *
 * The frame lies in two pieces of memory of just their size, so that the address
 * sanitizer sees a step beyond.  The input: what was agreed on, what the receiver knows,
 * where the frame is cut in two, the virtio header, the frame.
 */
#include <stdlib.h>
#include <string.h>

#include "core/finish.h"
#include "core/pool.h"
#include "fuzz.h"

#define HEAD_MAX 512

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_start();
	return 0;
}

static void gone(void *addr, void *arg)
{
	(void)arg;
	free(addr);
}

struct piece {
	struct rte_mbuf_ext_shared_info info;
	uint8_t *at;
};

/* An mbuf of len bytes of the input, with not a byte more behind them. */
static struct rte_mbuf *wrap(struct piece *p, struct input *in, uint32_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(vb_buffers());

	p->at = malloc(len);
	if (m == NULL || p->at == NULL)
		abort();
	take(in, p->at, len);
	p->info = (struct rte_mbuf_ext_shared_info){.free_cb = gone, .refcnt = 1};
	rte_pktmbuf_attach_extbuf(m, p->at, (rte_iova_t)(uintptr_t)p->at, len, &p->info);
	m->data_len = m->pkt_len = len;
	return m;
}

/* All that is left of a frame's bytes is its payload, and it is all there. */
static void finish(struct rte_mbuf *m, uint8_t able)
{
	const struct vb_offload o = *vb_offload(m);
	uint32_t left = m->pkt_len, longest = vb_offload_frame_len(m), n = 0;
	bool whole = vb_offload_suits(m, able) || o.gso_size == 0;
	struct vb_counters row = {0};
	struct vb_finish f;

	vb_finish_begin(&f, &row, m, able);
	while ((m = vb_finish_next(&f, &row)) != NULL) {
		uint32_t headers = n++ > 0 ? o.headers : 0;

		if (m->pkt_len > (whole ? left : longest) || m->pkt_len <= headers)
			abort();
		left -= m->pkt_len - headers;
		rte_mbuf_sanity_check(m, 1);
		rte_pktmbuf_free(m);
	}
	if (left != 0 || n > VB_OFFLOAD_SEGMENTS_MAX || row.made_packets != n - 1)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t agreed = take_byte(&in) & VB_OFFLOAD_ALL, able = take_byte(&in) & VB_OFFLOAD_ALL;
	uint32_t cut = 1 + take_byte(&in) * 2u, head;
	struct virtio_net_hdr hdr;
	struct piece pieces[2];
	struct rte_mbuf *m;

	take(&in, &hdr, sizeof(hdr));
	if (in.left == 0)
		return 0;
	head = RTE_MIN(RTE_MIN(in.left, cut), HEAD_MAX);
	m = wrap(&pieces[0], &in, head);
	if (in.left > 0 && rte_pktmbuf_chain(m, wrap(&pieces[1], &in, in.left)) != 0)
		abort();
	if (vb_offload_take(m, &hdr, agreed) != VB_OFFLOAD_OK || !vb_offload_any(&m, 1))
		rte_pktmbuf_free(m);
	else
		finish(m, able);
	fuzz_check_buffers();
	return 0;
}
