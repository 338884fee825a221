/* SPDX-License-Identifier: MIT
 *
 * Connections that conntrack pins to an instance, found by the instance number in their mark. The kernel filters
 * by mark and status itself from Linux 5.16 on (an older one would ignore the status and delete too much); where it
 * does not, the table is read and the entries are deleted one by one.
 *
 * The kernel finds them by walking its whole table, 0.2 us an entry that is not in a cache: 17 ms with 90,000. Of many
 * instances at once they are therefore looked for in one listing.
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
#define DELETE_MAX 512  /* bytes of a request to delete one entry */
#define FEW        4    /* marks: a walk by the kernel for each is cheaper than a listing of the whole table */
#define FOUND_MAX  8192 /* entries; what is beyond is found by the next listing */

/* An entry to delete: its original tuple as it came, and its id. */
struct doomed {
	uint32_t id; /* network order */
	uint16_t len;
	uint8_t family;
	uint8_t tuple[TUPLE_MAX];
};

struct search {
	const uint32_t *marks; /* ascending */
	size_t count;
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

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static bool is_wanted(const struct search *s, uint32_t mark, uint32_t status)
{
	if (mark == 0 || (s->unreplied_only && status & IPS_SEEN_REPLY))
		return false;
	return bsearch(&mark, s->marks, s->count, sizeof(mark), compare) != NULL;
}

static int collect(const struct nlmsghdr *nlh, void *arg)
{
	const struct nfgenmsg *nfg = mnl_nlmsg_get_payload(nlh);
	struct search *s = arg;
	struct doomed d = {.family = nfg->nfgen_family};
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
	if (d.len == 0 || s->found.len >= FOUND_MAX * sizeof(d) || !is_wanted(s, mark, status))
		return 0;
	niwa_text_add_bytes(&s->found, &d, sizeof(d));
	return s->found.failed ? -ENOMEM : 0;
}

static int delete_one(struct niwa_nl *nf, const struct doomed *d)
{
	char buf[DELETE_MAX];
	struct nlmsghdr *nlh = niwa_nl_put_nfnl(nf, buf, NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE, 0, d->family);
	int r;

	mnl_attr_put(nlh, CTA_TUPLE_ORIG | NLA_F_NESTED, d->len, d->tuple);
	mnl_attr_put_u32(nlh, CTA_ID, d->id);
	r = niwa_nl_talk(nf, nlh, NULL, NULL);
	return r == -ENOENT ? 0 : r; /* it has ended meanwhile */
}

/* What a listing finds; mark: the kernel's own filter, 0 for none. The number of entries that were found. */
static int delete_listed(struct niwa_nl *nf, struct search *s, uint32_t mark)
{
	char buf[128];
	struct nlmsghdr *nlh =
		niwa_nl_put_nfnl(nf, buf, NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_UNSPEC);
	int r;

	if (mark)
		put_mark(nlh, mark);
	r = niwa_nl_dump(nf, nlh, collect, s, restart);
	for (size_t pos = 0; pos < s->found.len && r == 0; pos += sizeof(struct doomed)) {
		struct doomed d;

		memcpy(&d, s->found.data + pos, sizeof(d));
		r = delete_one(nf, &d);
	}
	return r < 0 ? r : (int)(s->found.len / sizeof(struct doomed));
}

static int list_and_delete(struct niwa_nl *nf, struct search *s, uint32_t mark)
{
	int r;

	do
		r = delete_listed(nf, s, mark);
	while (r >= FOUND_MAX);
	niwa_text_fini(&s->found);
	return r < 0 ? r : 0;
}

int niwa_conntrack_dump_and_delete(struct niwa_nl *nf, uint32_t mark, bool unreplied_only)
{
	struct search s = {.marks = &mark, .count = 1, .unreplied_only = unreplied_only};

	return list_and_delete(nf, &s, mark);
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

static int flush(struct niwa_nl *nf, uint32_t mark, bool unreplied_only, struct niwa_error *err)
{
	char buf[128];
	struct nlmsghdr *nlh;
	int r = -ENOSYS;

	if (mark == 0)
		return niwa_fail(err, NIWA_CALLER, EINVAL, "flush the conntrack entries of mark 0");
	if (kernel_filters_status()) {
		nlh = niwa_nl_put_nfnl(nf, buf, NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE, 0, AF_INET);
		put_mark(nlh, mark);
		if (unreplied_only) {
			mnl_attr_put_u32(nlh, CTA_STATUS, 0);
			mnl_attr_put_u32(nlh, CTA_STATUS_MASK, htonl(IPS_SEEN_REPLY));
		}
		r = niwa_nl_talk(nf, nlh, NULL, NULL);
	}
	if (r < 0)
		r = niwa_conntrack_dump_and_delete(nf, mark, unreplied_only);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "delete the conntrack entries of mark %u", mark);
	return 0;
}

int niwa_net_flush_unreplied(struct niwa_net *net, uint32_t mark, struct niwa_error *err)
{
	return flush(&net->nf, mark, true, err);
}

int niwa_net_flush_all(struct niwa_net *net, uint32_t mark, struct niwa_error *err)
{
	return flush(&net->nf, mark, false, err);
}

static int flush_each(struct niwa_nl *nf, const uint32_t *marks, size_t count, struct niwa_error *err)
{
	int r = 0;

	for (size_t n = 0; n < count && r == 0; n++)
		r = flush(nf, marks[n], false, err);
	return r;
}

int niwa_net_flush_many(uint32_t *marks, size_t count, struct niwa_error *err)
{
	struct search s = {.marks = marks, .count = count};
	struct niwa_nl nf = {0};
	int r = niwa_nl_open(&nf, NETLINK_NETFILTER);

	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "open a netlink socket");
	qsort(marks, count, sizeof(*marks), compare);
	if (count <= FEW) {
		r = flush_each(&nf, marks, count, err);
	} else {
		r = list_and_delete(&nf, &s, 0);
		if (r < 0)
			r = niwa_fail(err, NIWA_TEMPORARY, -r, "delete the conntrack entries of %zu marks", count);
	}
	niwa_nl_close(&nf);
	return r;
}
