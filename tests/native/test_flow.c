/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include "bricks/flow.h"

/* An IPv4 UDP frame in a buffer of exactly its size, so that ASan sees overreads. */
static struct rte_mbuf packet(uint8_t *data, uint16_t len)
{
	return (struct rte_mbuf){.buf_addr = data, .data_len = len, .pkt_len = len};
}

static void ip4(uint8_t *p, uint16_t port, uint16_t fragment)
{
	memset(p, 0, 42);
	p[12] = 0x08;
	p[14] = 0x45;
	p[20] = fragment >> 8;
	p[21] = fragment & 0xff;
	p[23] = IPPROTO_UDP;
	p[34] = port >> 8;
	p[35] = port & 0xff;
}

static void ports_tell_flows_apart(void **state)
{
	uint8_t a[42], b[42];
	struct rte_mbuf ma = packet(a, sizeof(a)), mb = packet(b, sizeof(b));

	(void)state;
	ip4(a, 1, 0);
	ip4(b, 1, 0);
	assert_int_equal(vb_flow_hash(&ma), vb_flow_hash(&mb));
	ip4(b, 2, 0);
	assert_int_not_equal(vb_flow_hash(&ma), vb_flow_hash(&mb));
}

static void fragments_of_a_packet_stay_together(void **state)
{
	uint8_t a[42], b[42];
	struct rte_mbuf ma = packet(a, sizeof(a)), mb = packet(b, sizeof(b));

	(void)state;
	ip4(a, 1, 0x2000); /* the first: more fragments */
	ip4(b, 2, 0x0010); /* a later one: what lies at the ports is payload */
	assert_int_equal(vb_flow_hash(&ma), vb_flow_hash(&mb));
}

static void any_length_is_safe(void **state)
{
	static const uint16_t types[] = {0x0800, 0x86dd, 0x8100, 0x0806};

	(void)state;
	for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
		for (uint16_t len = 0; len < 80; len++) {
			uint8_t *data = malloc(len ? len : 1);
			struct rte_mbuf m = packet(data, len);

			memset(data, 0xff, len);
			if (len >= 14) {
				data[12] = types[t] >> 8;
				data[13] = types[t] & 0xff;
			}
			vb_flow_hash(&m);
			free(data);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports_tell_flows_apart),
		cmocka_unit_test(fragments_of_a_packet_stay_together),
		cmocka_unit_test(any_length_is_safe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
