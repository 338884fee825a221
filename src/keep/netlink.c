/* SPDX-License-Identifier: MIT
 *
 * One rtnetlink batch: all messages in one send, every acknowledgement checked. The kernel executes a batch inside
 * send(), so the answers are there when it returns and nothing waits.
 */
#include "keep/keep.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "base/fd.h"

static union {
	struct nlmsghdr align;
	char bytes[NIWA_PLAN_NETLINK_MAX];
} batch, answer;

int keep_netlink_open(void)
{
	static const int on = 1;
	NIWA_AUTO_FD sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (sock < 0 || setsockopt(sock, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on)) < 0)
		return -errno;
	return NIWA_TAKE_FD(sock);
}

static void put_pid(const struct niwa_op_view *op, pid_t pid)
{
	const char *p = op->s;
	uint32_t value = (uint32_t)pid;

	for (int64_t i = 0; i < op->a; i++) {
		size_t offset = 0;

		while (*p >= '0' && *p <= '9')
			offset = offset * 10 + (size_t)(*p++ - '0');
		memcpy(batch.bytes + offset, &value, sizeof(value)); /* inside: niwa_plan_check looked */
		if (*p == ' ')
			p++;
	}
}

static int number_messages(uint32_t len)
{
	int count = 0;

	for (uint32_t at = 0; at < len;) {
		struct nlmsghdr *m = (void *)(batch.bytes + at);

		m->nlmsg_seq = (uint32_t)++count;
		m->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
		m->nlmsg_pid = 0;
		at += NLMSG_ALIGN(m->nlmsg_len);
	}
	return count;
}

/* Reads one datagram of answers; counts acknowledgements down, keeps the first error. */
static int read_answers(int sock, int *left, int *error, int *message)
{
	ssize_t n = recv(sock, answer.bytes, sizeof(answer.bytes), 0);
	unsigned len = n > 0 ? (unsigned)n : 0;

	if (n < 0)
		return -errno;
	for (struct nlmsghdr *m = &answer.align; NLMSG_OK(m, len); m = NLMSG_NEXT(m, len)) {
		const struct nlmsgerr *e = NLMSG_DATA(m);

		if (m->nlmsg_type != NLMSG_ERROR)
			continue;
		(*left)--;
		if (e->error == 0 || *error)
			continue;
		*error = e->error;
		*message = (int)m->nlmsg_seq - 1;
	}
	return 0;
}

int keep_netlink_batch(int sock, const struct niwa_op_view *op, pid_t pid, int *message)
{
	int left, error = 0;

	memcpy(batch.bytes, op->bytes, op->bytes_len);
	put_pid(op, pid);
	left = number_messages(op->bytes_len);
	if (send(sock, batch.bytes, op->bytes_len, MSG_NOSIGNAL) < 0)
		return -errno;
	while (left > 0) {
		int r = read_answers(sock, &left, &error, message);

		if (r < 0)
			return r == -EAGAIN ? -EPROTO : r; /* the kernel answers each message */
	}
	return error;
}
