/* System V and POSIX messages, semaphores, shared memory. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void queues(void)
{
	struct { long type; char text[16]; } message = { 5, "hello" };
	struct mq_attr attr = { .mq_maxmsg = 3, .mq_msgsize = 16 }, old;
	char buffer[16];
	unsigned priority;
	int queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600);

	msgsnd(queue, &message, 6, IPC_NOWAIT);
	msgrcv(queue, &message, sizeof(message.text), 5, IPC_NOWAIT | MSG_NOERROR);
	msgrcv(queue, &message, sizeof(message.text), 5, IPC_NOWAIT);
	msgctl(queue, IPC_RMID, NULL);
	queue = mq_open("/traceleft-test", O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	mq_send(queue, "first", 5, 9);
	mq_getattr(queue, &old);
	mq_receive(queue, buffer, sizeof(buffer), &priority);
	mq_unlink("/traceleft-test");
}

static void semaphores(void)
{
	struct sembuf steps[2] = { { 0, 1, IPC_NOWAIT }, { 1, -1, IPC_NOWAIT | SEM_UNDO } };
	struct timespec soon = { 0, 1000 };
	int set = semget(IPC_PRIVATE, 2, IPC_CREAT | 0644);

	semop(set, steps, 1);
	semop(set, steps, 2);
	steps[1].sem_flg = 0;
	semtimedop(set, steps + 1, 1, &soon);
	semctl(set, 0, GETVAL);
	semctl(set, 0, SETVAL, 4);
	semctl(set, 0, IPC_RMID);
}

static void shared(void)
{
	int segment = shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600);
	void *at = shmat(segment, NULL, SHM_RDONLY);

	shmdt(at);
	shmdt((void *)4096);
	shmctl(segment, IPC_RMID, NULL);
}

int main(void)
{
	unshare(CLONE_NEWIPC); /* there identifiers begin at 0 */
	queues();
	semaphores();
	shared();
	return 0;
}
