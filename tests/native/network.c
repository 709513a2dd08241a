/* SPDX-License-Identifier: Apache-2.0 */
#include "network.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

char network_dir[64];
struct vb_brick *network_switch, *network_guard;

void network_start(uint32_t nb_workers)
{
	const struct vb_switch_config config = {.mac_table_size = 64, .mac_ageing_s = 300};
	const struct vb_security security = {.mode = VB_SECURITY_OPEN};

	harness_start(nb_workers);
	strcpy(network_dir, "/tmp/vb-test-XXXXXX");
	assert_non_null(mkdtemp(network_dir));
	assert_int_equal(vb_switch_create("switch", &config, &network_switch), 0);
	assert_int_equal(
		vb_antispoof_create("antispoof/p", &security, network_switch, &network_guard), 0);
}

int network_end(void)
{
	assert_int_equal(vb_brick_destroy(network_guard), 0);
	assert_int_equal(vb_brick_destroy(network_switch), 0);
	return rmdir(network_dir);
}
