/* SPDX-License-Identifier: MIT
 *
 * Ports of a Compose service: what is declared, and guesses where nothing is.
 */
#include "spec/compose_private.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "spec/app.h"

/* What usually listens on a port. TLS from the first byte: the client speaks first. */
static const struct {
	uint16_t port;
	const char *protocol;
	bool client;
} usual[] = {
	{80, "http", false},   {8080, "http", false},     {8000, "http", false},  {3000, "http", false},
	{5000, "http", false}, {8081, "http", false},     {8888, "http", false},  {443, "tcp", true},
	{8443, "tcp", true},   {25, "smtp", false},       {587, "smtp", false},   {465, "smtp", true},
	{143, "imap", false},  {993, "imap", true},       {110, "pop3", false},   {995, "pop3", true},
	{24, "lmtp", false},   {5432, "postgres", false}, {3306, "mysql", false}, {6379, "redis", false},
	{27017, "tcp", true},  {11211, "tcp", true},      {5672, "tcp", true},    {9200, "http", false},
};

/* What an image listens on when its service declares nothing: other services reach it without a declaration. */
static const struct {
	const char *image;
	uint16_t port;
} images[] = {
	{"postgres", 5432}, {"mysql", 3306},   {"mariadb", 3306}, {"redis", 6379},
	{"valkey", 6379},   {"nginx", 80},     {"httpd", 80},     {"caddy", 80},
	{"apache", 80},     {"wordpress", 80}, {"mongo", 27017},  {"memcached", 11211},
	{"rabbitmq", 5672}, {"php", 80},       {"nextcloud", 80}, {"elasticsearch", 9200},
};

static json_t *find_port(struct niwa_compose *c, uint16_t number)
{
	json_t *port;
	size_t i;

	json_array_foreach(json_object_get(c->app, "ports"), i,
			   port) if (json_integer_value(json_object_get(port, "port")) == number) return port;
	return NULL;
}

/* Adds a port unless it is there. publish NULL: not published. */
static void add_port(struct niwa_compose *c, const char *path, uint16_t number, const char *publish)
{
	json_t *ports = json_object_get(c->app, "ports"), *port = find_port(c, number);

	if (!ports) {
		ports = json_array();
		niwa_compose_set(c, c->app, "ports", ports);
	}
	if (!port) {
		if (json_array_size(ports) >= NIWA_PORTS_MAX) {
			niwa_compose_note(c, path, "left out: an app has at most %d ports", NIWA_PORTS_MAX);
			return;
		}
		port = json_object();
		niwa_compose_append(c, ports, port);
		niwa_compose_set(c, port, "port", json_integer(number));
		for (size_t i = 0; i < NIWA_ARRAY_LEN(usual); i++) {
			if (usual[i].port != number)
				continue;
			niwa_compose_set(c, port, "protocol", json_string(usual[i].protocol));
			if (usual[i].client)
				niwa_compose_set(c, port, "speaks", json_string("client"));
		}
		if (!json_object_get(port, "protocol"))
			niwa_compose_note(
				c, path, "port %u is taken as tcp; say protocol and speaks if you know better", number);
	}
	if (!publish)
		return;
	if (json_object_get(port, "publish"))
		niwa_compose_note(c, path, "left out: port %u is published a second time as %s", number, publish);
	else
		niwa_compose_set(c, port, "publish", json_string(publish));
}

/* "3000" or "3000-3005" */
static bool parse_range(const char *s, uint16_t *ret_first, uint16_t *ret_last)
{
	const char *dash = strchr(s, '-');
	char first[8];
	uint64_t a, b;

	(void)snprintf(first, sizeof(first), "%.*s", dash ? (int)(dash - s) : 7, s);
	if (niwa_parse_u64(first, 65535, &a) < 0 || a == 0)
		return false;
	b = a;
	if (dash && (niwa_parse_u64(dash + 1, 65535, &b) < 0 || b < a))
		return false;
	*ret_first = (uint16_t)a;
	*ret_last = (uint16_t)b;
	return true;
}

/* An address with or without brackets; "" is every address of the host, as it is for Docker. The port is any. */
static bool parse_host(const char *addr, struct niwa_publish *ret)
{
	bool bare = strchr(addr, ':') && *addr != '[';
	char text[80];

	(void)snprintf(text, sizeof(text), "%s%.64s%s:1", bare ? "[" : "", addr, bare ? "]" : "");
	return niwa_publish_parse(text, ret);
}

/* target and published may be ranges of one length; published may be empty. */
static void add_range(struct niwa_compose *c, const char *path, const char *target, const char *addr,
		      const char *published)
{
	uint16_t first, last, host = 0, host_last;
	struct niwa_publish at;

	if (!parse_range(target, &first, &last) ||
	    (*published && (!parse_range(published, &host, &host_last) || host_last - host != last - first)) ||
	    last - first >= NIWA_PORTS_MAX) {
		niwa_compose_note(c, path, "left out: not a port, or too many ports");
		return;
	}
	if (*published && !parse_host(addr, &at)) {
		niwa_compose_note(c, path, "not published: '%.64s' is not an address to listen on", addr);
		host = 0;
	}
	for (unsigned i = 0; i <= (unsigned)(last - first); i++) {
		char publish[NIWA_PUBLISH_TEXT];

		at.port = (uint16_t)(host + i);
		add_port(c, path, (uint16_t)(first + i), host ? niwa_publish_text(&at, publish) : NULL);
	}
}

/* "80", "8080:80", "127.0.0.1:8080:80", "[::1]:8080:80", each with "/tcp" or "/udp". */
static void add_short(struct niwa_compose *c, const char *path, const char *text)
{
	char buf[128], *target, *colon, *slash, *published = NULL;
	const char *addr = "";

	if (strlen(text) >= sizeof(buf)) {
		niwa_compose_note(c, path, "left out: not a port");
		return;
	}
	(void)snprintf(buf, sizeof(buf), "%s", text);
	slash = strchr(buf, '/');
	if (slash) {
		*slash = '\0';
		if (strcmp(slash + 1, "tcp") != 0) {
			niwa_compose_note(c, path, "left out: niwa carries TCP only, not %.16s", slash + 1);
			return;
		}
	}
	target = buf;
	colon = strrchr(buf, ':');
	if (colon) {
		*colon = '\0';
		target = colon + 1;
		published = buf;
		colon = strrchr(buf, ':');
		if (colon) {
			*colon = '\0';
			published = colon + 1;
			addr = buf;
		}
	}
	add_range(c, path, target, addr, published ? published : "");
}

static const char *text_at(const json_t *object, const char *key, const char *fallback)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : fallback;
}

void niwa_compose_ports(struct niwa_compose *c, const char *key, const json_t *value)
{
	json_t *item;
	size_t i;

	if (!json_is_array(value) && !json_is_null(value))
		niwa_compose_note(c, key, "left out: not a list");
	json_array_foreach(value, i, item)
	{
		char path[48];

		(void)snprintf(path, sizeof(path), "%s[%zu]", key, i);
		if (json_is_string(item))
			add_short(c, path, json_string_value(item));
		else if (!json_is_object(item))
			niwa_compose_note(c, path, "left out: not a port");
		else if (strcmp(text_at(item, "protocol", "tcp"), "tcp") != 0)
			niwa_compose_note(c, path, "left out: niwa carries TCP only");
		else
			add_range(c, path, text_at(item, "target", ""), text_at(item, "host_ip", ""),
				  text_at(item, "published", ""));
	}
}

void niwa_compose_expose(struct niwa_compose *c, const char *key, const json_t *value)
{
	json_t *item;
	size_t i;

	json_array_foreach(value, i, item)
	{
		const char *text = json_string_value(item);
		char path[48];

		(void)snprintf(path, sizeof(path), "%s[%zu]", key, i);
		if (text && !strchr(text, ':'))
			add_short(c, path, text);
		else
			niwa_compose_note(c, path, "left out: not a port");
	}
}

void niwa_compose_guess_ports(struct niwa_compose *c, const char *image)
{
	const char *slash = image ? strrchr(image, '/') : NULL, *base = slash ? slash + 1 : image;

	if (!image || json_object_get(c->app, "ports"))
		return;
	for (size_t i = 0; i < NIWA_ARRAY_LEN(images); i++) {
		size_t len = strlen(images[i].image);

		if (strncmp(base, images[i].image, len) != 0 || !strchr(":@-", base[len]))
			continue;
		niwa_compose_note(c, "image", "no port is declared; %u is a guess from the image's name",
				  images[i].port);
		add_port(c, "image", images[i].port, NULL);
		return;
	}
}
