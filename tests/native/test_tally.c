/* SPDX-License-Identifier: Apache-2.0
 *
 * The example of doc/source/brick.rst: it has to compile, and to do what it says.
 */
#include "harness.h"

/* doc: begin */
#include <errno.h>
#include <stdlib.h>

#include "core/graph.h"

/* The tally brick: passes everything from one edge to the other, and counts it. */
struct tally {
	uint64_t packets[VB_WORKERS_MAX];
};

static void tally_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	struct tally *tally = node->state;

	vb_count(&tally->packets[ctx->worker], n);
	vb_push(ctx, node, VB_PARTNER(edge), pkts, n);
}

static void tally_fini(struct vb_brick *brick)
{
	free(brick->state);
}

static const struct vb_brick_ops tally_ops = {
	.kind = "tally",
	.push = tally_push,
	.fini = tally_fini,
};

static int vb_tally_create(const char *name, struct vb_brick **out)
{
	struct tally *tally = calloc(1, sizeof(*tally));

	if (tally == NULL)
		return -ENOMEM;
	*out = vb_brick_new(&tally_ops, name, tally);
	if (*out == NULL) {
		free(tally);
		return -ENOMEM;
	}
	vb_graph_add(*out);
	return 0;
}

/* Packets since it was created. */
static uint64_t vb_tally_packets(struct vb_brick *brick)
{
	struct tally *tally = brick->state;
	uint64_t packets = 0;

	for (int i = 0; i < VB_WORKERS_MAX; i++)
		packets += vb_count_read(&tally->packets[i]);
	return packets;
}
/* doc: end */

static struct vb_brick *tally;

static void what_comes_in_goes_out_and_is_counted(void **state)
{
	struct sink left, right;
	struct rte_mbuf *m;

	(void)state;
	harness_start(1);
	sink_create(&left, "left");
	sink_create(&right, "right");
	assert_int_equal(vb_tally_create("tally", &tally), 0);
	join(tally, left.brick);
	join(tally, right.brick);

	m = harness_frame(9, 1, 60);
	push_into(tally, 0, &m, 1);
	assert_int_equal(right.nb_got, 1);
	m = harness_frame(9, 2, 60);
	push_into(tally, 1, &m, 1);
	assert_int_equal(left.nb_got, 1);
	assert_int_equal(vb_tally_packets(tally), 2);

	sink_empty(&left);
	sink_empty(&right);
	/* It has no side of the host's: others are joined to it, and go first. */
	assert_int_equal(vb_brick_destroy(left.brick), 0);
	assert_int_equal(vb_brick_destroy(right.brick), 0);
	assert_int_equal(vb_brick_destroy(tally), 0);
	assert_int_equal(harness_in_use(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_comes_in_goes_out_and_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
