/* SPDX-License-Identifier: MIT
 *
 * The table's rules: ruleset.nft with the host's values, given to libnftables as one transaction. Rules are always
 * replaced; sets and maps with their elements are kept when their layout is ours, so that an engine restart or an
 * upgrade disturbs nobody.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <nftables/libnftables.h>

#include "base/memory.h"
#include "net/net_private.h"
#include "ruleset_text.h" /* made from ruleset.nft: static const char ruleset_text[] */

/* Counts changes of sets, maps, and of the hooks of chains. */
#define NIWA_NET_LAYOUT "4"

struct value {
	const char *name;
	char text[192];
};

/* six: "6" in the names of sets and of the protocol, or "". */
static void render_limit(const struct niwa_net_config *config, const char *six, char *buf, size_t size)
{
	buf[0] = '\0';
	if (config->held_rate)
		(void)snprintf(buf, size,
			       "ct state new iif != \"lo\" fib saddr type != local update @held%s "
			       "{ ip%s saddr limit rate over %u/second burst %u packets } drop",
			       six, six, config->held_rate,
			       config->held_burst ? config->held_burst : config->held_rate);
}

static void render_connections(const struct niwa_net_config *config, const char *six, char *buf, size_t size)
{
	buf[0] = '\0';
	if (config->instance_connections)
		(void)snprintf(buf, size, "ct state new add @connections%s { ip%s saddr ct count over %u } jump refuse",
			       six, six, config->instance_connections);
}

static void render_net6(const struct niwa_net_config *config, enum niwa_ula_net net, char *buf, size_t size)
{
	char text[INET6_ADDRSTRLEN];

	(void)snprintf(buf, size, "%s/%d", niwa_ula_text(&config->ula, net, 0, text), NIWA_ULA_BITS);
}

static const struct value *find(const struct value *values, size_t count, const char *name, size_t len)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(values[i].name) == len && memcmp(values[i].name, name, len) == 0)
			return &values[i];
	return NULL;
}

/* By name: their places in the table are of no matter. */
static void render_names(const struct niwa_net_config *config, struct value *values, size_t count)
{
	char names[INET_ADDRSTRLEN], gateway[INET_ADDRSTRLEN];

	if (!config->names_addr)
		return;
	(void)inet_ntop(AF_INET, &config->names_addr, names, sizeof(names));
	(void)inet_ntop(AF_INET, &config->gateway_addr, gateway, sizeof(gateway));
	for (size_t i = 0; i < count; i++)
		if (strcmp(values[i].name, "NAMES") == 0)
			(void)snprintf(values[i].text, sizeof(values[i].text),
				       "iifgroup %u ip daddr %s meta l4proto { tcp, udp } th dport 53 dnat ip to %s:%u",
				       config->veth_group, names, gateway, config->names_port);
		else if (strcmp(values[i].name, "NAMES_HERE") == 0)
			(void)snprintf(values[i].text, sizeof(values[i].text),
				       "ct status dnat ip daddr %s meta l4proto { tcp, udp } th dport %u accept",
				       gateway, config->names_port);
}

int niwa_ruleset_render(const struct niwa_net_config *config, struct niwa_text *out, struct niwa_error *err)
{
	struct value v[] = {{"LAYOUT", NIWA_NET_LAYOUT},
			    {"GROUP"},
			    {"SERVICE"},
			    {"PRIVATE"},
			    {"GATEWAY"},
			    {"NFLOG"},
			    {"RELAY_PORT"},
			    {"LIMIT"},
			    {"CONNECTIONS"},
			    {"RETURN"},
			    {"NAMES"},
			    {"NAMES_HERE"},
			    {"SERVICE6"},
			    {"PRIVATE6"},
			    {"LIMIT6"},
			    {"CONNECTIONS6"},
			    {"6"},
			    {"GATEWAY6"}};
	const char *pos = ruleset_text, *start, *end;

	(void)snprintf(v[1].text, sizeof(v[1].text), "%u", config->veth_group);
	niwa_net_range_text((struct niwa_net_range){config->service_net, config->service_bits}, v[2].text);
	niwa_net_range_text((struct niwa_net_range){config->private_net, config->private_bits}, v[3].text);
	(void)inet_ntop(AF_INET, &config->gateway_addr, v[4].text, sizeof(v[4].text));
	(void)snprintf(v[5].text, sizeof(v[5].text), "%u", config->nflog_group);
	(void)snprintf(v[6].text, sizeof(v[6].text), "%u", config->relay_port);
	render_limit(config, "", v[7].text, sizeof(v[7].text));
	render_connections(config, "", v[8].text, sizeof(v[8].text));
	render_net6(config, NIWA_ULA_SERVICE, v[12].text, sizeof(v[12].text));
	render_net6(config, NIWA_ULA_PRIVATE, v[13].text, sizeof(v[13].text));
	(void)niwa_ula_text(&config->ula, NIWA_ULA_PRIVATE, config->gateway_addr, v[17].text);
	render_limit(config, "6", v[14].text, sizeof(v[14].text));
	render_connections(config, "6", v[15].text, sizeof(v[15].text));
	if (!config->ula.on)
		(void)snprintf(v[16].text, sizeof(v[16].text), "#"); /* the line is a comment */
	/* What an instance answers on a connection of the host's own: only such have no translation. It stays here,
	 * whatever address it is for. */
	if (config->return_mark)
		(void)snprintf(v[9].text, sizeof(v[9].text), "ct direction reply ct status ! dnat meta mark set 0x%x",
			       config->return_mark);

	render_names(config, v, NIWA_ARRAY_LEN(v));

	for (; (start = strchr(pos, '%')) != NULL && (end = strchr(start + 1, '%')) != NULL; pos = end + 1) {
		const struct value *value = find(v, NIWA_ARRAY_LEN(v), start + 1, (size_t)(end - start - 1));

		niwa_text_add_bytes(out, pos, (size_t)(start - pos));
		if (value)
			niwa_text_add(out, value->text);
		else
			niwa_text_add_bytes(out, start, (size_t)(end + 1 - start));
	}
	niwa_text_add(out, pos);
	if (out->failed)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "write the nftables rules");
	return 0;
}

static void free_ctx(struct nft_ctx **ctx)
{
	if (*ctx)
		nft_ctx_free(*ctx);
}

static int run(const char *text, const char *what, struct niwa_error *err)
{
	NIWA_AUTO(free_ctx) struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);
	const char *said;
	char first[256];

	if (!ctx)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "%s", what);
	(void)nft_ctx_buffer_error(ctx);
	(void)nft_ctx_buffer_output(ctx);
	if (nft_run_cmd_from_buffer(ctx, text) == 0)
		return 0;
	said = nft_ctx_get_error_buffer(ctx);
	(void)snprintf(first, sizeof(first), "%.*s", said ? (int)strcspn(said, "\n") : 0, said ? said : "");
	return niwa_fail(err, NIWA_PERMANENT, EPROTO, "%s: nftables says: %s", what, first);
}

/* 1: the table is there, 2: with the layout we know; 0: no table. */
static int existing(struct niwa_nl *nf)
{
	char buf[256];
	struct nlmsghdr *nlh;
	int r;

	nlh = niwa_nl_put_nfnl(nf, buf, NFNL_SUBSYS_NFTABLES, NFT_MSG_GETCHAIN, 0, NFPROTO_INET);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_TABLE, NIWA_NET_TABLE);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, "layout_" NIWA_NET_LAYOUT);
	r = niwa_nl_talk(nf, nlh, NULL, NULL);
	if (r == 0)
		return 2;
	nlh = niwa_nl_put_nfnl(nf, buf, NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE, 0, NFPROTO_INET);
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, NIWA_NET_TABLE);
	r = niwa_nl_talk(nf, nlh, NULL, NULL);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : 1;
}

int niwa_ruleset_install(struct niwa_net *net, struct niwa_error *err)
{
	NIWA_AUTO(niwa_text_fini) struct niwa_text text = {0};
	int there, r;

	there = existing(&net->nf);
	if (there < 0)
		return niwa_fail(err, NIWA_PERMANENT, -there, "look for the nftables table %s", NIWA_NET_TABLE);
	if (there == 1)
		niwa_text_add(&text, "delete table inet " NIWA_NET_TABLE "\n");
	if (there == 2)
		niwa_text_add(&text, "flush table inet " NIWA_NET_TABLE "\n"); /* the rules, not the elements */
	r = niwa_ruleset_render(&net->config, &text, err);
	if (r < 0)
		return r;
	if (there != 2)
		niwa_text_add(&text, "add element inet " NIWA_NET_TABLE " loading { tcp }\n");
	if (text.failed)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "write the nftables rules");
	r = run(text.data, "install the nftables table " NIWA_NET_TABLE, err);
	if (r < 0)
		return r;
	r = niwa_ruleset_fingerprint(&net->nf, &net->fingerprint);
	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "read the nftables table " NIWA_NET_TABLE " back");
	return 0;
}

int niwa_ruleset_remove(struct niwa_error *err)
{
	return run("add table inet " NIWA_NET_TABLE "\ndelete table inet " NIWA_NET_TABLE "\n",
		   "remove the nftables table " NIWA_NET_TABLE, err);
}
