/* The least that a container costs: what the kernel itself must do, and nothing else.
 *
 * floor RUNS NET LOWER UPPER WORK GROUP1 GROUP2 COMMAND
 *
 * Each run makes two control groups, clones into new namespaces (with a network namespace if NET
 * is 1), joins the groups, mounts an overlay, proc and a tmpfs, pivots, executes COMMAND, waits for
 * its end, and removes the groups. Prints the microseconds of each run, one a line.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void check(int result, const char *step)
{
	if (result < 0) {
		fprintf(stderr, "floor: %s: %s\n", step, strerror(errno));
		_exit(1);
	}
}

static void join_group(const char *group)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/cgroup.procs", group);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	check(fd, "open cgroup.procs");
	check(write(fd, "0", 1), "join control group");
	close(fd);
}

static void become_container(char **argv)
{
	const char *lower = argv[3], *upper = argv[4], *work = argv[5];
	char options[8192];
	join_group(argv[6]);
	join_group(argv[7]);
	check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make mounts private");
	snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work);
	check(mount("overlay", upper, "overlay", 0, options), "mount overlay");
	check(chdir(upper), "enter root");
	check(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "mount proc");
	check(mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k"), "mount dev");
	check(syscall(SYS_pivot_root, ".", "."), "pivot root");
	check(umount2(".", MNT_DETACH), "detach old root");
	check(chdir("/"), "enter root");
	char *command[] = {argv[8], NULL};
	char *environment[] = {NULL};
	check(execve(command[0], command, environment), "execute");
}

static pid_t clone_into(uint64_t flags)
{
	struct clone_args args = {.flags = flags, .exit_signal = SIGCHLD};
	return syscall(SYS_clone3, &args, sizeof args);
}

static double run_once(int net, char **argv)
{
	struct timespec before, after;
	uint64_t flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP;
	int status;

	clock_gettime(CLOCK_MONOTONIC, &before);
	check(mkdir(argv[6], 0755), "make control group");
	check(mkdir(argv[7], 0755), "make control group");
	pid_t pid = clone_into(net ? flags | CLONE_NEWNET : flags);
	check(pid, "clone");
	if (pid == 0)
		become_container(argv);
	check(waitpid(pid, &status, 0), "wait");
	check(rmdir(argv[6]), "remove control group");
	check(rmdir(argv[7]), "remove control group");
	clock_gettime(CLOCK_MONOTONIC, &after);
	if (status != 0)
		exit(1);
	return (after.tv_sec - before.tv_sec) * 1e6 + (after.tv_nsec - before.tv_nsec) / 1e3;
}

int main(int argc, char **argv)
{
	if (argc != 9) {
		fprintf(stderr, "usage: floor RUNS NET LOWER UPPER WORK GROUP1 GROUP2 COMMAND\n");
		return 2;
	}
	for (int run = atoi(argv[1]); run > 0; run--)
		printf("%.1f\n", run_once(atoi(argv[2]), argv));
	return 0;
}
