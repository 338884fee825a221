/* SPDX-License-Identifier: MIT
 *
 * Connections that conntrack pins to an instance, found by the instance number in their mark. The kernel filters
 * by mark and status itself from Linux 5.16 on (an older one would ignore the status and delete too much); where it
 * does not, the table is read and the entries are deleted one by one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include "base/text.h"
#include "net/net_private.h"

#define MARK_ALL   0xffffffffu
#define TUPLE_MAX  256
#define DELETE_MAX 512 /* bytes of a request to delete one entry */

/* An entry to delete: its original tuple as it came, and its id. */
struct doomed {
	uint32_t id; /* network order */
	uint16_t len;
	uint8_t tuple[TUPLE_MAX];
};

struct search {
	uint32_t mark;
	bool unreplied_only;
	struct niwa_text found; /* of struct doomed */
};

static void put_mark(struct nlmsghdr *nlh, uint32_t mark)
{
	mnl_attr_put_u32(nlh, CTA_MARK, htonl(mark));
	mnl_attr_put_u32(nlh, CTA_MARK_MASK, htonl(MARK_ALL));
}

static void restart(void *arg)
{
	struct search *s = arg;

	s->found.len = 0;
}

static int collect(const struct nlmsghdr *nlh, void *arg)
{
	struct search *s = arg;
	struct doomed d = {0};
	const struct nlattr *attr;
	uint32_t mark = 0, status = 0;

	mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
	{
		uint16_t type = mnl_attr_get_type(attr), len = mnl_attr_get_payload_len(attr);

		if (type == CTA_MARK)
			mark = ntohl(mnl_attr_get_u32(attr));
		else if (type == CTA_STATUS)
			status = ntohl(mnl_attr_get_u32(attr));
		else if (type == CTA_ID)
			d.id = mnl_attr_get_u32(attr);
		else if (type == CTA_TUPLE_ORIG && len <= sizeof(d.tuple)) {
			d.len = len;
			memcpy(d.tuple, mnl_attr_get_payload(attr), len);
		}
	}
	if (mark != s->mark || (s->unreplied_only && status & IPS_SEEN_REPLY) || d.len == 0)
		return 0;
	niwa_text_add_bytes(&s->found, &d, sizeof(d));
	return s->found.failed ? -ENOMEM : 0;
}

static int delete_one(struct niwa_nl *nf, const struct doomed *d)
{
	char buf[DELETE_MAX];
	struct nlmsghdr *nlh = niwa_nl_put_nfnl(nf, buf, NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE, 0, AF_INET);
	int r;

	mnl_attr_put(nlh, CTA_TUPLE_ORIG | NLA_F_NESTED, d->len, d->tuple);
	mnl_attr_put_u32(nlh, CTA_ID, d->id);
	r = niwa_nl_talk(nf, nlh, NULL, NULL);
	return r == -ENOENT ? 0 : r; /* it has ended meanwhile */
}

int niwa_conntrack_dump_and_delete(struct niwa_nl *nf, uint32_t mark, bool unreplied_only)
{
	struct search s = {.mark = mark, .unreplied_only = unreplied_only};
	char buf[128];
	struct nlmsghdr *nlh = niwa_nl_put_nfnl(nf, buf, NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_INET);
	int r;

	put_mark(nlh, mark);
	r = niwa_nl_dump(nf, nlh, collect, &s, restart);
	for (size_t pos = 0; pos < s.found.len && r == 0; pos += sizeof(struct doomed)) {
		struct doomed d;

		memcpy(&d, s.found.data + pos, sizeof(d));
		r = delete_one(nf, &d);
	}
	niwa_text_fini(&s.found);
	return r;
}

static bool kernel_filters_status(void)
{
	static int known; /* 0: not asked yet */
	struct utsname u;
	unsigned major = 0, minor = 0;

	if (!known)
		known = uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
					(major > 5 || (major == 5 && minor >= 16))
				? 1
				: -1;
	return known > 0;
}

static int flush(struct niwa_net *net, uint32_t mark, bool unreplied_only, struct niwa_error *err)
{
	char buf[128];
	struct nlmsghdr *nlh;
	int r = -ENOSYS;

	if (mark == 0)
		return niwa_fail(err, NIWA_CALLER, EINVAL, "flush the conntrack entries of mark 0");
	if (kernel_filters_status()) {
		nlh = niwa_nl_put_nfnl(&net->nf, buf, NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE, 0, AF_INET);
		put_mark(nlh, mark);
		if (unreplied_only) {
			mnl_attr_put_u32(nlh, CTA_STATUS, 0);
			mnl_attr_put_u32(nlh, CTA_STATUS_MASK, htonl(IPS_SEEN_REPLY));
		}
		r = niwa_nl_talk(&net->nf, nlh, NULL, NULL);
	}
	if (r < 0)
		r = niwa_conntrack_dump_and_delete(&net->nf, mark, unreplied_only);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "delete the conntrack entries of mark %u", mark);
	return 0;
}

int niwa_net_flush_unreplied(struct niwa_net *net, uint32_t mark, struct niwa_error *err)
{
	return flush(net, mark, true, err);
}

int niwa_net_flush_all(struct niwa_net *net, uint32_t mark, struct niwa_error *err)
{
	return flush(net, mark, false, err);
}
