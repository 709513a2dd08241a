/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes system calls without end, at the lowest priority. With page table isolation
 * each of them flushes the TLB: migration.py says what that is good for.
 */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	setpriority(PRIO_PROCESS, 0, 19);
	for (;;)
		syscall(SYS_getpid);
}
