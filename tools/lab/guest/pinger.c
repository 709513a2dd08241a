/* SPDX-License-Identifier: Apache-2.0
 *
 * The traffic tool of the lab's guests.
 *
 *   pinger TTY INTERVAL_MS [PEER]
 *
 * Sends an ICMP echo request to PEER each INTERVAL_MS and measures the
 * silences: the time between two answers that follow each other. It writes
 * one JSON object a line to TTY and takes commands from it, one a line:
 *
 *   reset         forget all counters, and answers still under way
 *   peer IP       ping another machine
 *   interval MS   ping at another rate
 *   echo TOKEN    answer with the token
 *   sh COMMAND    run a command, answer with its status and output
 *
 * Each line leaves in one write, and only when the terminal has room for all
 * of it, so no line is ever torn and a reader who sleeps never delays a ping.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#ifndef ICMP_FILTER
#define ICMP_FILTER 1 /* <linux/icmp.h>, which clashes with the libc's */
#endif

#define NS_PER_MS 1000000LL
#define NS_PER_S 1000000000LL
#define REPORT_NS (200 * NS_PER_MS)
#define SHELL_LIMIT_NS (10 * NS_PER_S)

#define LINE_MAX_LEN 4000 /* the kernel's buffer of a serial port is 4096 */
#define SHELL_OUTPUT_MAX 1500
#define SEEN_SLOTS 65536 /* a power of two */
#define EVENT_SLOTS 16

/* What travels in an echo request after the ICMP header. */
struct payload {
	uint64_t generation; /* counts resets: answers to older pings are void */
	uint64_t number;
	uint8_t filling[40];
} __attribute__((packed));

struct request {
	struct icmphdr icmp;
	struct payload payload;
} __attribute__((packed));

struct counters {
	uint64_t sent;
	uint64_t answered;
	uint64_t duplicate;
	uint64_t send_errors;
	int64_t since; /* of the last answer, or of the reset */
	int64_t longest_silence;
};

/* A command that `sh` started. */
struct shell {
	pid_t pid; /* 0: none */
	int fd;
	int64_t deadline;
	size_t length;
	char output[SHELL_OUTPUT_MAX];
};

static int tty_fd = -1;
static int icmp_fd = -1;
static uint16_t ident;
static char boot_id[40];
static struct sockaddr_in peer = {.sin_family = AF_INET};
static int64_t interval_ns;
static uint64_t generation = 1;
static uint64_t next_number = 1;
static struct counters counters;
static struct shell shell = {.fd = -1};

/* The number last answered in each slot: tells an answer from its copy. */
static uint64_t seen[SEEN_SLOTS];

static char events[EVENT_SLOTS][LINE_MAX_LEN];
static unsigned int events_first, events_count;

static int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* ---- output */

static bool tty_write_line(const char *line)
{
	size_t length = strlen(line);
	int queued = 0;

	/* Not a terminal (when run by hand): there is no queue to look at. */
	if (ioctl(tty_fd, TIOCOUTQ, &queued) == 0 && queued > 0)
		return false;
	return write(tty_fd, line, length) == (ssize_t)length;
}

static void flush_events(void)
{
	while (events_count > 0 && tty_write_line(events[events_first])) {
		events_first = (events_first + 1) % EVENT_SLOTS;
		events_count--;
	}
}

static void __attribute__((format(printf, 1, 2))) event(const char *format, ...)
{
	unsigned int slot = (events_first + events_count) % EVENT_SLOTS;
	va_list args;

	if (events_count == EVENT_SLOTS) /* nobody reads: the oldest goes */
		events_first = (events_first + 1) % EVENT_SLOTS;
	else
		events_count++;
	va_start(args, format);
	vsnprintf(events[slot], LINE_MAX_LEN, format, args);
	va_end(args);
	flush_events();
}

/* The text as a JSON string without its quotes; cut where the room ends. */
static const char *json_escape(const char *text, size_t length)
{
	static char out[LINE_MAX_LEN - 200];
	size_t used = 0;

	for (size_t i = 0; i < length && used + 7 < sizeof(out); i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '"' || c == '\\')
			used += (size_t)sprintf(out + used, "\\%c", c);
		else if (c < 0x20 || c > 0x7e)
			used += (size_t)sprintf(out + used, "\\u%04x", c);
		else
			out[used++] = (char)c;
	}
	out[used] = '\0';
	return out;
}

static void report(void)
{
	char line[1024], address[INET_ADDRSTRLEN];
	int64_t now = clock_ns(CLOCK_MONOTONIC);

	inet_ntop(AF_INET, &peer.sin_addr, address, sizeof(address));
	snprintf(line, sizeof(line),
		 "{\"t\":%.3f,\"uptime_s\":%.3f,\"boot_id\":\"%s\","
		 "\"peer\":\"%s\",\"interval_ms\":%.1f,\"sent\":%" PRIu64
		 ",\"answered\":%" PRIu64 ",\"duplicate\":%" PRIu64
		 ",\"send_errors\":%" PRIu64 ",\"longest_silence_ms\":%.1f,"
		 "\"current_silence_ms\":%.1f}\n",
		 (double)clock_ns(CLOCK_REALTIME) / NS_PER_S,
		 (double)clock_ns(CLOCK_BOOTTIME) / NS_PER_S, boot_id, address,
		 (double)interval_ns / NS_PER_MS, counters.sent,
		 counters.answered, counters.duplicate, counters.send_errors,
		 (double)counters.longest_silence / NS_PER_MS,
		 (double)(now - counters.since) / NS_PER_MS);
	/* A report that finds no room is left out: the next one says more. */
	if (events_count == 0)
		tty_write_line(line);
}

/* ---- pings */

static void reset_counters(void)
{
	generation++;
	memset(&counters, 0, sizeof(counters));
	counters.since = clock_ns(CLOCK_MONOTONIC);
}

static uint16_t internet_checksum(const void *data, size_t length)
{
	const uint8_t *bytes = data;
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < length; i += 2)
		sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void send_ping(void)
{
	struct request request = {
		.icmp.type = ICMP_ECHO,
		.icmp.un.echo.id = htons(ident),
		.icmp.un.echo.sequence = htons((uint16_t)next_number),
		.payload.generation = generation,
		.payload.number = next_number,
	};

	request.icmp.checksum = internet_checksum(&request, sizeof(request));
	next_number++;
	if (sendto(icmp_fd, &request, sizeof(request), MSG_DONTWAIT,
		   (struct sockaddr *)&peer, sizeof(peer)) < 0)
		counters.send_errors++;
	else
		counters.sent++;
}

static void take_answer(const struct payload *payload)
{
	int64_t now = clock_ns(CLOCK_MONOTONIC);
	uint64_t *slot = &seen[payload->number % SEEN_SLOTS];

	if (payload->generation != generation)
		return;
	if (*slot == payload->number) {
		counters.duplicate++;
		return;
	}
	*slot = payload->number;
	if (counters.answered > 0 &&
	    now - counters.since > counters.longest_silence)
		counters.longest_silence = now - counters.since;
	counters.since = now;
	counters.answered++;
}

static void receive_pings(void)
{
	uint8_t packet[2048];
	struct sockaddr_in from;
	socklen_t from_length = sizeof(from);
	ssize_t length;

	while ((length = recvfrom(icmp_fd, packet, sizeof(packet), MSG_DONTWAIT,
				  (struct sockaddr *)&from, &from_length)) > 0) {
		struct request answer;
		size_t header = (size_t)(packet[0] & 0xf) * 4;

		from_length = sizeof(from);
		if ((size_t)length < header + sizeof(answer))
			continue;
		memcpy(&answer, packet + header, sizeof(answer));
		if (answer.icmp.type == ICMP_ECHOREPLY &&
		    answer.icmp.un.echo.id == htons(ident) &&
		    from.sin_addr.s_addr == peer.sin_addr.s_addr)
			take_answer(&answer.payload);
	}
}

/* ---- commands */

static void shell_start(const char *command)
{
	int fds[2];
	pid_t pid;

	if (shell.pid != 0) {
		event("{\"event\":\"error\",\"message\":\"sh is busy\"}\n");
		return;
	}
	if (pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		event("{\"event\":\"error\",\"message\":\"%s\"}\n",
		      strerror(errno));
		return;
	}
	if (pid == 0) {
		int null = open("/dev/null", O_RDONLY);

		setpgid(0, 0);
		dup2(null, 0);
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	close(fds[1]);
	shell.pid = pid;
	shell.fd = fds[0];
	shell.length = 0;
	shell.deadline = clock_ns(CLOCK_MONOTONIC) + SHELL_LIMIT_NS;
}

static void shell_read(void)
{
	char buffer[1024];
	ssize_t length = read(shell.fd, buffer, sizeof(buffer));
	int status = 0;

	if (length > 0) { /* what does not fit is read and forgotten */
		size_t room = sizeof(shell.output) - shell.length;
		size_t taken = (size_t)length < room ? (size_t)length : room;

		memcpy(shell.output + shell.length, buffer, taken);
		shell.length += taken;
		return;
	}
	kill(-shell.pid, SIGKILL); /* it has closed its output: it is done */
	waitpid(shell.pid, &status, 0);
	event("{\"event\":\"sh\",\"status\":%d,\"output\":\"%s\"}\n",
	      WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
	      json_escape(shell.output, shell.length));
	close(shell.fd);
	shell.fd = -1;
	shell.pid = 0;
}

static bool set_peer(const char *text)
{
	return inet_pton(AF_INET, text, &peer.sin_addr) == 1;
}

static bool set_interval(const char *text)
{
	long ms = atol(text);

	if (ms < 1 || ms > 60000)
		return false;
	interval_ns = ms * NS_PER_MS;
	return true;
}

static void run_command(char *line)
{
	char *argument = strchr(line, ' ');
	bool good = true;

	if (argument)
		*argument++ = '\0';
	else
		argument = line + strlen(line);

	if (strcmp(line, "sh") == 0) {
		shell_start(argument);
		return;
	}
	if (strcmp(line, "echo") == 0) {
		event("{\"event\":\"echo\",\"token\":\"%s\"}\n",
		      json_escape(argument, strlen(argument)));
		return;
	}
	if (strcmp(line, "reset") == 0)
		reset_counters();
	else if (strcmp(line, "peer") == 0)
		good = set_peer(argument);
	else if (strcmp(line, "interval") == 0)
		good = set_interval(argument);
	else
		good = false;
	if (good)
		event("{\"event\":\"%s\"}\n", line);
	else
		event("{\"event\":\"error\",\"message\":\"cannot do: %s\"}\n",
		      json_escape(line, strlen(line)));
}

/* False once the terminal is gone. */
static bool read_commands(void)
{
	static char line[1024];
	static size_t used;
	char buffer[256];
	ssize_t length = read(tty_fd, buffer, sizeof(buffer));

	if (length <= 0)
		return length < 0 && (errno == EAGAIN || errno == EINTR);
	for (ssize_t i = 0; i < length; i++) {
		if (buffer[i] != '\n' && buffer[i] != '\r') {
			if (used < sizeof(line) - 1)
				line[used++] = buffer[i];
			continue;
		}
		line[used] = '\0';
		if (used > 0)
			run_command(line);
		used = 0;
	}
	return true;
}

/* ---- start */

static void die(const char *what)
{
	fprintf(stderr, "pinger: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void open_tty(const char *path)
{
	struct termios settings;

	tty_fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (tty_fd < 0)
		die(path);
	if (tcgetattr(tty_fd, &settings) == 0) {
		cfmakeraw(&settings);
		cfsetspeed(&settings, B115200);
		settings.c_cflag |= CLOCAL | CREAD;
		tcsetattr(tty_fd, TCSANOW, &settings);
	}
}

static void open_icmp(void)
{
	uint32_t all_but_answers = ~(1U << ICMP_ECHOREPLY);

	icmp_fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	if (icmp_fd < 0)
		die("raw socket");
	if (setsockopt(icmp_fd, SOL_RAW, ICMP_FILTER, &all_but_answers,
		       sizeof(all_but_answers)) < 0)
		die("ICMP filter");
}

static void read_boot_id(void)
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (!file || fscanf(file, "%36[0-9a-f-]", boot_id) != 1)
		die("boot_id");
	fclose(file);
}

int main(int argc, char **argv)
{
	int64_t next_ping, next_report;

	if (argc < 3 || !set_interval(argv[2])) {
		fprintf(stderr, "usage: pinger TTY INTERVAL_MS [PEER]\n");
		return 2;
	}
	if (argc > 3 && argv[3][0] != '\0' && !set_peer(argv[3])) {
		fprintf(stderr, "pinger: not an address: %s\n", argv[3]);
		return 2;
	}
	ident = (uint16_t)getpid();
	read_boot_id();
	open_tty(argv[1]);
	open_icmp();
	reset_counters();
	event("{\"event\":\"start\",\"boot_id\":\"%s\"}\n", boot_id);

	next_ping = next_report = clock_ns(CLOCK_MONOTONIC);
	for (;;) {
		int64_t now = clock_ns(CLOCK_MONOTONIC), wait;
		struct timespec timeout;
		struct pollfd fds[] = {
			{.fd = icmp_fd, .events = POLLIN},
			{.fd = tty_fd, .events = POLLIN},
			{.fd = shell.fd, .events = POLLIN},
		};

		if (now >= next_ping) {
			if (peer.sin_addr.s_addr != 0)
				send_ping();
			next_ping += interval_ns;
			if (next_ping < now) /* this machine was stopped */
				next_ping = now + interval_ns;
		}
		if (now >= next_report) {
			flush_events();
			report();
			next_report = now + REPORT_NS;
		}
		if (shell.pid != 0 && now >= shell.deadline) {
			kill(-shell.pid, SIGKILL);
			shell.deadline = now + SHELL_LIMIT_NS;
		}

		wait = (next_ping < next_report ? next_ping : next_report) - now;
		if (wait < 0)
			wait = 0;
		timeout.tv_sec = wait / NS_PER_S;
		timeout.tv_nsec = wait % NS_PER_S;
		if (ppoll(fds, 3, &timeout, NULL) <= 0)
			continue;
		if (fds[0].revents)
			receive_pings();
		if (fds[1].revents && !read_commands())
			die("the terminal is gone");
		if (fds[2].revents)
			shell_read();
	}
}
