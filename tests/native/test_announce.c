/* SPDX-License-Identifier: Apache-2.0
 *
 * Who hears of whom when an edge of a switch comes up: stations (guests) and uplinks.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bricks/neigh.h"
#include "core/runtime.h"

#define RARP 0x8035
#define ARP 0x0806

enum { A, B, NB_STATIONS };

static char memory[] = "/tmp/vb-announce-XXXXXX";
static struct vb_brick *sw;
static struct sink station[NB_STATIONS], uplink;
static uint16_t station_edge[NB_STATIONS], uplink_edge; /* on the switch's side */

static void switch_create(void)
{
	const struct vb_switch_config config = {
		.mac_table_size = 64, .mac_ageing_s = 300, .neighbours = memory};

	assert_int_equal(vb_switch_create("switch/t", &config, &sw), 0);
}

static void join_all(void)
{
	for (int i = 0; i < NB_STATIONS; i++)
		station_edge[i] = join(sw, station[i].brick);
	uplink_edge = join(sw, uplink.brick);
}

static int setup(void **state)
{
	(void)state;
	harness_start(1);
	strcpy(memory + sizeof(memory) - 7, "XXXXXX");
	close(mkstemp(memory));
	switch_create();
	sink_create(&station[A], "station/a");
	sink_create(&station[B], "station/b");
	sink_create_uplink(&uplink, "uplink/u");
	join_all();
	return 0;
}

static void empty_all(void)
{
	for (int i = 0; i < NB_STATIONS; i++)
		sink_empty(&station[i]);
	sink_empty(&uplink);
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < NB_STATIONS; i++)
		assert_int_equal(vb_brick_destroy(station[i].brick), 0);
	assert_int_equal(vb_brick_destroy(uplink.brick), 0);
	assert_int_equal(vb_brick_destroy(sw), 0);
	unlink(memory);
	return harness_in_use();
}

/* A frame to nobody in particular that says nothing but where its sender is. */
static void talk(uint16_t edge, uint8_t mac)
{
	struct rte_mbuf *m = harness_frame(99, mac, 60);

	push_into(sw, edge, &m, 1);
	empty_all();
}

static void say_address(uint16_t edge, uint8_t mac)
{
	const struct vb_neigh n = {
		.family = 4, .mac = {2, 0, 0, 0, 0, mac}, .ip = {10, 0, 0, mac}};
	struct rte_mbuf *m = harness_frame(0, 0, VB_NEIGH_FRAME);

	rte_pktmbuf_trim(m, VB_NEIGH_FRAME - vb_neigh_frame(&n, rte_pktmbuf_mtod(m, uint8_t *)));
	push_into(sw, edge, &m, 1);
	empty_all();
}

/* How many frames of this type and source lie in sink. */
static int heard(const struct sink *sink, uint16_t type, uint8_t mac)
{
	int n = 0;

	for (uint16_t i = 0; i < sink->nb_got; i++) {
		const uint8_t *f = rte_pktmbuf_mtod(sink->got[i], const uint8_t *);

		n += f[11] == mac && (f[12] << 8 | f[13]) == type;
	}
	return n;
}

static void come_back(uint16_t *edge, const struct sink *who)
{
	part(sw, *edge);
	*edge = join(sw, who->brick);
}

static void uplinks_hear_of_a_station_that_comes_up(void **state)
{
	(void)state;
	talk(station_edge[A], 1);
	say_address(station_edge[A], 2);
	say_address(station_edge[B], 3);
	come_back(&station_edge[A], &station[A]);
	assert_int_equal(heard(&uplink, RARP, 1), 1);
	assert_int_equal(heard(&uplink, RARP, 2), 1);
	assert_int_equal(heard(&uplink, ARP, 2), 1);
	assert_int_equal(uplink.nb_got, 3);
	/* Stations have no use for it; the one that came is told of the other. */
	assert_int_equal(station[B].nb_got, 0);
	assert_int_equal(heard(&station[A], ARP, 3), 1);
	assert_int_equal(station[A].nb_got, 1);
	empty_all();
}

static void an_uplink_that_comes_up_hears_of_all(void **state)
{
	(void)state;
	talk(station_edge[A], 1);
	say_address(station_edge[B], 2);
	say_address(uplink_edge, 3);
	come_back(&uplink_edge, &uplink);
	assert_int_equal(heard(&uplink, RARP, 1), 1);
	assert_int_equal(heard(&uplink, RARP, 2), 1);
	assert_int_equal(heard(&uplink, ARP, 2), 1);
	assert_int_equal(uplink.nb_got, 3); /* nothing of what is behind itself */
	empty_all();
}

/* Or the packets of a guest that has moved to another host would be drawn back here. */
static void who_has_left_is_not_told_of(void **state)
{
	(void)state;
	talk(station_edge[A], 1);
	say_address(station_edge[A], 2);
	talk(station_edge[B], 3);
	part(sw, station_edge[A]);
	come_back(&uplink_edge, &uplink);
	assert_int_equal(heard(&uplink, RARP, 3), 1);
	assert_int_equal(uplink.nb_got, 1);
	station_edge[A] = join(sw, station[A].brick);
	empty_all();
}

static void what_was_last_seen_elsewhere_is_not_told_of(void **state)
{
	(void)state;
	for (uint8_t mac = 1; mac <= 3; mac++)
		say_address(station_edge[A], mac);
	/* They move, and say nothing of their addresses. */
	talk(uplink_edge, 1);
	talk(station_edge[B], 2);
	come_back(&station_edge[A], &station[A]);
	assert_int_equal(heard(&uplink, RARP, 3), 1);
	assert_int_equal(heard(&uplink, ARP, 3), 1);
	assert_int_equal(uplink.nb_got, 2);
	empty_all();
}

static void the_macs_of_one_uplink_are_not_told_to_another(void **state)
{
	struct sink other;

	(void)state;
	sink_create_uplink(&other, "uplink/v");
	talk(uplink_edge, 1);
	talk(station_edge[A], 2);
	join(sw, other.brick);
	assert_int_equal(heard(&other, RARP, 2), 1);
	assert_int_equal(other.nb_got, 1);
	assert_int_equal(vb_brick_destroy(other.brick), 0);
}

static void a_restarted_switch_need_not_flood(void **state)
{
	struct rte_mbuf *m;

	(void)state;
	talk(station_edge[A], 1);
	talk(uplink_edge, 2);
	for (int i = 0; i < NB_STATIONS; i++)
		part(sw, station_edge[i]);
	part(sw, uplink_edge);
	assert_int_equal(vb_brick_destroy(sw), 0);
	switch_create();
	join_all();
	assert_int_equal(vb_switch_macs(sw), 2);
	empty_all();
	m = harness_frame(1, 3, 60);
	push_into(sw, station_edge[B], &m, 1);
	assert_int_equal(station[A].nb_got, 1);
	assert_int_equal(uplink.nb_got, 0);
	m = harness_frame(2, 3, 60);
	push_into(sw, station_edge[B], &m, 1);
	assert_int_equal(station[A].nb_got, 1);
	assert_int_equal(uplink.nb_got, 1);
	empty_all();
}

static void another_session_of_a_port_takes_nothing_away(void **state)
{
	struct rte_mbuf *m;

	(void)state;
	talk(station_edge[A], 1);
	join(sw, station[A].brick);
	empty_all();
	m = harness_frame(1, 2, 60);
	push_into(sw, station_edge[B], &m, 1);
	assert_int_equal(station[A].nb_got, 1);
	/* It would be hairpin on the edge that has the address. */
	m = harness_frame(1, 3, 60);
	push_into(sw, station_edge[A], &m, 1);
	assert_int_equal(station[A].nb_got, 1);
	empty_all();
}

/* Which of a port's sessions is which nobody knows after a restart: a packet from one for
 * another would be taken for one that need not be sent.
 */
static void sessions_of_one_port_have_to_speak_again(void **state)
{
	uint16_t second;

	(void)state;
	talk(station_edge[A], 1);
	second = join(sw, station[A].brick);
	talk(second, 2);
	part(sw, station_edge[A]);
	part(sw, second);
	empty_all();
	station_edge[A] = join(sw, station[A].brick);
	assert_int_equal(vb_switch_macs(sw), 0);
	assert_int_equal(heard(&uplink, RARP, 1), 1);
	assert_int_equal(heard(&uplink, RARP, 2), 1);
	assert_int_equal(uplink.nb_got, 2);
	empty_all();
	/* It is the only one now: what it says is its own. */
	talk(station_edge[A], 1);
	come_back(&station_edge[A], &station[A]);
	assert_int_equal(vb_switch_macs(sw), 1);
	empty_all();
}

static void the_forgotten_is_not_told_of(void **state)
{
	(void)state;
	talk(station_edge[A], 1);
	say_address(station_edge[A], 2);
	part(sw, station_edge[A]);
	vb_switch_forget(sw, "station/a");
	station_edge[A] = join(sw, station[A].brick);
	assert_int_equal(uplink.nb_got, 0);
}

static void a_port_says_only_what_it_may(void **state)
{
	const struct vb_address_pair pair = {.mac = {2, 0, 0, 0, 0, 1},
		.family = 4,
		.prefix_len = 32,
		.address = {10, 0, 0, 9}};
	const struct vb_security open = {.mode = VB_SECURITY_OPEN},
				 closed = {.mode = VB_SECURITY_CLOSED},
				 filtered = {.mode = VB_SECURITY_FILTERED,
					 .nb_pairs = 1,
					 .pairs = &pair};
	struct vb_brick *antispoof;
	struct sink guest;
	uint16_t edge, inside;

	(void)state;
	assert_int_equal(vb_antispoof_create("antispoof/g", &open, sw, &antispoof), 0);
	sink_create(&guest, "guest/g");
	edge = join(guest.brick, antispoof);
	inside = antispoof->edges[1].peer_index;
	say_address(inside, 1);
	talk(inside, 2);

	assert_int_equal(vb_antispoof_set(antispoof, &closed), 0);
	part(guest.brick, edge);
	edge = join(guest.brick, antispoof);
	assert_int_equal(uplink.nb_got, 0);
	come_back(&uplink_edge, &uplink);
	assert_int_equal(uplink.nb_got, 0);

	/* The MAC, but not the address. */
	assert_int_equal(vb_antispoof_set(antispoof, &filtered), 0);
	part(guest.brick, edge);
	edge = join(guest.brick, antispoof);
	assert_int_equal(heard(&uplink, RARP, 1), 1);
	assert_int_equal(uplink.nb_got, 1);
	come_back(&uplink_edge, &uplink);
	assert_int_equal(heard(&uplink, RARP, 1), 2);
	assert_int_equal(uplink.nb_got, 2);

	part(guest.brick, edge);
	assert_int_equal(vb_brick_destroy(guest.brick), 0);
	assert_int_equal(vb_brick_destroy(antispoof), 0);
	empty_all();
}

static void renew(struct vb_brick *brick)
{
	pthread_mutex_lock(&vb_lock);
	vb_graph_renew(brick);
	pthread_mutex_unlock(&vb_lock);
}

static void an_uplink_that_has_forgotten_hears_again(void **state)
{
	(void)state;
	talk(station_edge[A], 1);
	renew(uplink.brick);
	assert_int_equal(heard(&uplink, RARP, 1), 1);
	assert_int_equal(uplink.nb_got, 1);
	empty_all();
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(uplinks_hear_of_a_station_that_comes_up),
		T(an_uplink_that_comes_up_hears_of_all),
		T(who_has_left_is_not_told_of),
		T(what_was_last_seen_elsewhere_is_not_told_of),
		T(the_macs_of_one_uplink_are_not_told_to_another),
		T(a_restarted_switch_need_not_flood),
		T(another_session_of_a_port_takes_nothing_away),
		T(sessions_of_one_port_have_to_speak_again),
		T(the_forgotten_is_not_told_of),
		T(a_port_says_only_what_it_may),
		T(an_uplink_that_has_forgotten_hears_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
