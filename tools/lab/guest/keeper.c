/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps what a guest receives where the network card put it.
 *
 *   keeper PORT
 *
 * Takes UDP datagrams on PORT and leaves them in the socket: in the very pages that
 * the card's other side wrote, touched by nobody. On SIGUSR1 it reads them all,
 * compares each with what it must hold (datagrams.py makes them), and writes one
 * JSON object. A page that was written behind the back of a migration has other
 * contents at the destination, and is found out here; a guest that reads at once
 * would have read it before it was left behind.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEPT_BYTES (32 << 20) /* by the kernel's count, which is above the contents */

struct summary {
	uint64_t kept;
	uint64_t bad;
	uint64_t first;
	uint64_t last;
};

static void die(const char *what)
{
	fprintf(stderr, "keeper: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_socket(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = KEPT_BYTES;

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		die("buffer");
	return fd;
}

/* The number is the contents' seed: no two datagrams of a test are alike. */
static bool intact(const uint8_t *data, size_t length, uint64_t number)
{
	for (size_t i = sizeof(number); i < length; i++)
		if (data[i] != (uint8_t)(number * 167 + (number >> 8) * 59 + i * 13))
			return false;
	return true;
}

static struct summary read_all(int fd)
{
	struct summary s = {0};
	uint8_t data[65536];
	uint64_t number;
	ssize_t length;

	while ((length = recv(fd, data, sizeof(data), MSG_DONTWAIT)) >= 0) {
		memcpy(&number, data, sizeof(number));
		number = be64toh(number);
		if (length < (ssize_t)sizeof(number) || !intact(data, (size_t)length, number)) {
			s.bad++;
			continue;
		}
		if (s.kept++ == 0)
			s.first = number;
		s.last = number;
	}
	return s;
}

int main(int argc, char **argv)
{
	struct summary s;
	sigset_t set;
	int fd, received;

	if (argc != 2 || atoi(argv[1]) <= 0) {
		fprintf(stderr, "usage: keeper PORT\n");
		return 2;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = open_socket((uint16_t)atoi(argv[1]));
	for (;;) {
		sigwait(&set, &received);
		s = read_all(fd);
		printf("{\"kept\":%" PRIu64 ",\"bad\":%" PRIu64 ",\"first\":%" PRIu64
		       ",\"last\":%" PRIu64 "}\n",
		       s.kept, s.bad, s.first, s.last);
		fflush(stdout);
	}
}
