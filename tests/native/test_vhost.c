/* SPDX-License-Identifier: Apache-2.0
 *
 * The vhost brick's control side; packets through real frontends are the
 * functional tests' job.
 */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <rte_cycles.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/fault.h"
#include "network.h"

static int setup(void **state)
{
	(void)state;
	network_start(1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return network_end();
}

static struct vb_vhost_config config_for(const char *name, bool client)
{
	struct vb_vhost_config config = {
		.client = client, .features = vb_vhost_features(), .queues = 1, .mtu = 1500};

	snprintf(config.path, sizeof(config.path), "%s/%s", network_dir, name);
	return config;
}

static int create(const struct vb_vhost_config *config, struct vb_brick **out)
{
	return vb_vhost_create("vhost/p", config, network_guard, out);
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static void a_server_listens_and_cleans_up(void **state)
{
	struct vb_vhost_config config = config_for("s", false);
	struct vb_brick *brick;

	(void)state;
	assert_int_equal(create(&config, &brick), 0);
	assert_true(exists(config.path));
	assert_int_equal(vb_brick_destroy(brick), 0);
	assert_false(exists(config.path));
}

static void a_file_in_the_way_is_left_alone(void **state)
{
	struct vb_vhost_config config = config_for("f", false);
	struct vb_brick *brick;
	int fd = open(config.path, O_CREAT | O_WRONLY, 0600);

	(void)state;
	close(fd);
	assert_int_equal(create(&config, &brick), -EADDRINUSE);
	assert_true(exists(config.path));
	unlink(config.path);
}

static void a_client_never_unlinks(void **state)
{
	struct vb_vhost_config config = config_for("c", true);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct vb_brick *brick;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	strcpy(addr.sun_path, config.path);
	assert_int_equal(bind(fd, (void *)&addr, sizeof(addr)), 0);
	close(fd); /* stale: nobody answers */
	assert_int_equal(create(&config, &brick), 0);
	assert_int_equal(vb_brick_destroy(brick), 0);
	assert_true(exists(config.path));
	unlink(config.path);
}

static void a_client_connects_when_the_socket_appears(void **state)
{
	struct vb_vhost_config config = config_for("late", true);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct vb_session session;
	struct vb_brick *brick;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), peer;

	(void)state;
	assert_int_equal(create(&config, &brick), 0);
	assert_int_equal(vb_vhost_sessions(brick, &session, 1), 0);
	strcpy(addr.sun_path, config.path);
	assert_int_equal(bind(fd, (void *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	peer = accept(fd, NULL, NULL);
	assert_true(peer >= 0);
	harness_wait(vb_vhost_sessions(brick, &session, 1) == 1);
	assert_false(session.running);
	/* It goes without a word: we come again, and after some times say what is wrong. */
	for (int i = 0; i < 4; i++) {
		close(peer);
		peer = accept(fd, NULL, NULL);
		assert_true(peer >= 0);
	}
	assert_string_equal(vb_vhost_fault(brick), vb_fault_name(VB_FAULT_FRONTEND_LEAVES));
	assert_int_equal(vb_brick_destroy(brick), 0);
	close(peer);
	close(fd);
	unlink(config.path);
}

static void what_is_no_socket_is_a_fault(void **state)
{
	struct vb_vhost_config config = config_for("n", true);
	struct vb_brick *brick;
	int fd = open(config.path, O_CREAT | O_WRONLY, 0600);

	(void)state;
	close(fd);
	assert_int_equal(create(&config, &brick), 0);
	harness_wait(strcmp(vb_vhost_fault(brick), "not_a_socket") == 0);
	assert_int_equal(vb_brick_destroy(brick), 0);
	unlink(config.path);
}

/* What QEMU says when its guest's driver starts and its memory cannot be shared. */
static int start_without_memory(const char *path)
{
	static const uint32_t enable_ring[] = {18, 1, 8, 0, 1}, set_features[] = {2, 1, 8, 0, 1};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(addr.sun_path, path);
	assert_int_equal(connect(fd, (void *)&addr, sizeof(addr)), 0);
	assert_int_equal(write(fd, enable_ring, sizeof(enable_ring)), sizeof(enable_ring));
	assert_int_equal(write(fd, set_features, sizeof(set_features)), sizeof(set_features));
	return fd;
}

static void memory_that_never_comes_is_a_fault(void **state)
{
	struct vb_vhost_config first = config_for("gone", false),
			       config = config_for("bad", false);
	struct vb_session session;
	struct vb_brick *brick;
	int fd;

	(void)state;
	/* A clock that outlives its session and its port does no harm. */
	assert_int_equal(create(&first, &brick), 0);
	fd = start_without_memory(first.path);
	harness_wait(vb_vhost_sessions(brick, &session, 1) == 1);
	assert_int_equal(vb_brick_destroy(brick), 0);
	close(fd);

	assert_int_equal(create(&config, &brick), 0);
	fd = start_without_memory(config.path);
	harness_wait(strcmp(vb_vhost_fault(brick), "memory_not_shared") == 0);
	assert_int_equal(vb_vhost_sessions(brick, &session, 1), 1);
	assert_false(session.running);
	assert_int_equal(vb_brick_destroy(brick), 0);
	close(fd);
}

static void bad_config_is_refused(void **state)
{
	struct vb_vhost_config good = config_for("p", false), config;
	struct vb_brick *brick, *other;

	(void)state;
	config = good;
	config.queues = 0;
	assert_int_equal(create(&config, &brick), -EINVAL);
	config.queues = VB_QUEUES_MAX + 1;
	assert_int_equal(create(&config, &brick), -EINVAL);
	config = good;
	config.features |= 1ULL << 34; /* VIRTIO_F_RING_PACKED */
	assert_int_equal(create(&config, &brick), -EOPNOTSUPP);
	config = good;
	memset(config.path, 'x', sizeof(config.path));
	assert_int_equal(create(&config, &brick), -ENAMETOOLONG);
	config = config_for("missing/p", false);
	assert_int_equal(create(&config, &brick), -ENOENT);
	assert_int_equal(create(&good, &brick), 0);
	assert_int_equal(create(&good, &other), -EADDRINUSE);
	assert_int_equal(vb_brick_destroy(brick), 0);
	assert_false(exists(good.path));
}

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static void many_leave_nothing_behind(void **state)
{
	struct vb_brick *bricks[200];
	int before = 0;

	(void)state;
	/* The first round starts threads that stay. */
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 200; i++) {
			char name[16];
			struct vb_vhost_config config;

			snprintf(name, sizeof(name), "m%d", i);
			config = config_for(name, i % 2 == 0);
			assert_int_equal(create(&config, &bricks[i]), 0);
		}
		for (int i = 0; i < 200; i++)
			assert_int_equal(vb_brick_destroy(bricks[i]), 0);
		if (round == 0)
			before = count_fds();
	}
	assert_int_equal(count_fds(), before);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_server_listens_and_cleans_up),
		T(a_file_in_the_way_is_left_alone),
		T(a_client_never_unlinks),
		T(a_client_connects_when_the_socket_appears),
		T(what_is_no_socket_is_a_fault),
		T(bad_config_is_refused),
		T(many_leave_nothing_behind),
		/* Last: TSan opens files to see that what it finds in it is in tsan.supp. */
		T(memory_that_never_comes_is_a_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
