/* SPDX-License-Identifier: Apache-2.0
 *
 * See alive.h.  Holders are only ever added, and the last to end is among those that
 * were there when the ones before it had ended: so the locks are taken one after the
 * other, until there are no more.
 */
#define _GNU_SOURCE
#include "core/alive.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/runtime.h"
#include "vhost_brick.h"

#define HOLDERS_MAX (VB_WORKERS_MAX + 2) /* the vhost thread and the control thread */

struct alive {
	uint32_t nb_holders; /* atomic */
	pthread_mutex_t holders[HOLDERS_MAX];
};

struct watch {
	struct alive *alive;
	int eventfd;
};

static pthread_mutex_t adding = PTHREAD_MUTEX_INITIALIZER;
static struct alive *own;
static int own_fd = -1;

static struct alive *map(int fd)
{
	void *p = mmap(NULL, sizeof(struct alive), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p != MAP_FAILED ? p : NULL;
}

static int init_mutexes(struct alive *alive)
{
	pthread_mutexattr_t attr;
	int ret = 0;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	for (uint32_t i = 0; i < HOLDERS_MAX && ret == 0; i++)
		ret = pthread_mutex_init(&alive->holders[i], &attr);
	pthread_mutexattr_destroy(&attr);
	return -ret;
}

int vb_alive_init(void)
{
	if (own != NULL)
		return 0;
	own_fd = memfd_create("vhost-brick-alive", MFD_CLOEXEC);
	if (own_fd < 0 || ftruncate(own_fd, sizeof(struct alive)) != 0)
		return -errno;
	own = map(own_fd);
	return own != NULL ? init_mutexes(own) : -ENOMEM;
}

int vb_alive_fd(void)
{
	return own_fd;
}

void vb_alive_hold(void)
{
	pthread_mutex_lock(&adding);
	if (own != NULL && own->nb_holders < HOLDERS_MAX) {
		pthread_mutex_lock(&own->holders[own->nb_holders]);
		__atomic_store_n(&own->nb_holders, own->nb_holders + 1, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&adding);
}

static bool all_ended(struct alive *alive)
{
	uint32_t i = 0;

	while (i < __atomic_load_n(&alive->nb_holders, __ATOMIC_ACQUIRE) && i < HOLDERS_MAX)
		/* Nobody ever unlocks, so anything else is another's idea of a mutex. */
		if (pthread_mutex_lock(&alive->holders[i++]) != EOWNERDEAD)
			return false;
	return i > 0;
}

static void *await_main(void *arg)
{
	struct watch *w = arg;
	uint64_t one = 1;

	if (all_ended(w->alive))
		(void)!write(w->eventfd, &one, sizeof(one));
	/* The memory stays mapped: this thread is on record as holding what is in it. */
	free(w);
	return NULL;
}

int vb_alive_await(int fd, int eventfd)
{
	struct watch *w = malloc(sizeof(*w));
	pthread_t thread;
	int ret = -ENOMEM;

	if (w == NULL)
		return ret;
	*w = (struct watch){.alive = map(fd), .eventfd = eventfd};
	if (w->alive != NULL)
		ret = vb_thread_start(&thread, "vb-await", await_main, w);
	if (ret == 0) {
		pthread_detach(thread);
		return 0;
	}
	if (w->alive != NULL)
		munmap(w->alive, sizeof(*w->alive));
	free(w);
	return ret;
}
