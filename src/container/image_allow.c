/* SPDX-License-Identifier: MIT
 *
 * What of the host's /etc may be seen in `image: host`. A list of what is needed, never of what is forbidden; the
 * forbidden names are a second net under it. Only files that everybody on the host may read are taken anyway.
 */
#include "container/image_private.h"

#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"

/* fnmatch(3) patterns, component by component. A folder stands for all that is in it. */
static const char *const allowed[] = {
	/* loader and alternatives */
	"etc/ld.so.cache",
	"etc/ld.so.conf",
	"etc/ld.so.conf.d",
	"etc/alternatives",
	/* certificates of authorities, never our own */
	"etc/ssl/certs",
	"etc/ssl/openssl.cnf",
	"etc/ca-certificates",
	"etc/ca-certificates.conf",
	/* names, numbers, places, languages, terminals */
	"etc/protocols",
	"etc/services",
	"etc/rpc",
	"etc/ethertypes",
	"etc/host.conf",
	"etc/gai.conf",
	"etc/mime.types",
	"etc/magic",
	"etc/magic.mime",
	"etc/timezone",
	"etc/locale.*",
	"etc/default/locale",
	"etc/terminfo",
	"etc/inputrc",
	"etc/papersize",
	"etc/fonts",
	"etc/xml",
	"etc/sgml",
	/* shells and identity of the system */
	"etc/profile",
	"etc/bash.bashrc",
	"etc/shells",
	"etc/debian_version",
	"etc/os-release",
	"etc/lsb-release",
	/* languages */
	"etc/perl",
	"etc/python*",
	"etc/php",
	"etc/java-*",
	"etc/ImageMagick-*",
	"etc/OpenCL",
	/* servers: modules and defaults, not sites */
	"etc/apache2/apache2.conf",
	"etc/apache2/envvars",
	"etc/apache2/magic",
	"etc/apache2/ports.conf",
	"etc/apache2/mods-*",
	"etc/apache2/conf-*",
	"etc/nginx/mime.types",
	"etc/nginx/fastcgi*",
	"etc/nginx/uwsgi_params",
	"etc/nginx/scgi_params",
	"etc/nginx/proxy_params",
	"etc/nginx/koi-*",
	"etc/nginx/win-utf",
	"etc/nginx/modules-*",
	"etc/postgresql-common",
	"etc/mysql/my.cnf",
	"etc/mysql/mariadb.cnf",
	"etc/mysql/conf.d",
	"etc/mysql/mariadb.conf.d",
	"etc/dovecot/dovecot.conf",
	"etc/dovecot/conf.d/[0-9]*.conf",
	"etc/dovecot/conf.d/*.conf.ext",
	"etc/postfix/dynamicmaps.cf",
	"etc/postfix/dynamicmaps.cf.d",
	"etc/postfix/postfix-files",
	"etc/postfix/postfix-files.d",
};

static const char *const forbidden[] = {"shadow", "passwd", "password", "secret", "private", "credential",
					"key",    "sudo",   "cron",     "ssh",    "niwa",    "machine-id"};
static const char *const forbidden_ends[] = {"~",          "-",         ".bak",      ".orig",
					     ".old",       ".swp",      ".dpkg-old", ".dpkg-new",
					     ".dpkg-dist", ".dpkg-bak", ".ucf-old",  ".ucf-dist"};

/* The first `count` components of pattern. */
static const char *head_of(const char *pattern, unsigned count, char *buf, size_t size)
{
	const char *p = pattern;

	while (count > 0 && (p = strchr(p, '/')) && --count > 0)
		p++;
	(void)snprintf(buf, size, "%.*s", p ? (int)(p - pattern) : (int)strlen(pattern), pattern);
	return buf;
}

static unsigned components(const char *path)
{
	unsigned n = 1;

	for (; *path; path++)
		n += *path == '/';
	return n;
}

enum image_allow image_allow_path(const char *path)
{
	enum image_allow found = ALLOW_NO;
	unsigned depth = components(path);
	char head[PATH_MAX], own[PATH_MAX];

	for (size_t i = 0; i < NIWA_ARRAY_LEN(allowed); i++) {
		unsigned wants = components(allowed[i]);

		if (depth >= wants) {
			if (fnmatch(allowed[i], head_of(path, wants, own, sizeof(own)), FNM_PATHNAME | FNM_PERIOD) == 0)
				return ALLOW_YES;
		} else if (fnmatch(head_of(allowed[i], depth, head, sizeof(head)), path, FNM_PATHNAME | FNM_PERIOD) ==
			   0) {
			found = ALLOW_PARENT;
		}
	}
	return found;
}

bool image_allow_name(const char *name)
{
	size_t len = strlen(name);

	if (name[0] == '.')
		return false;
	for (size_t i = 0; i < NIWA_ARRAY_LEN(forbidden); i++)
		if (strcasestr(name, forbidden[i]))
			return false;
	for (size_t i = 0; i < NIWA_ARRAY_LEN(forbidden_ends); i++) {
		size_t end = strlen(forbidden_ends[i]);

		if (len >= end && strcmp(name + len - end, forbidden_ends[i]) == 0)
			return false;
	}
	return true;
}

/* Joins and removes "." and ".." by text alone: no other links lie between, because /etc has no linked folders on
 * the list, and where one does the result is still below an allowed folder. false: does not fit or leaves the root. */
static bool normalise(const char *path, const char *target, char *ret, size_t size)
{
	char joined[PATH_MAX], *save = NULL;
	size_t used = 0;
	int n = target[0] == '/'
			? snprintf(joined, sizeof(joined), "%s", target)
			: snprintf(joined, sizeof(joined), "%.*s/%s", (int)(strrchr(path, '/') - path), path, target);

	if (n < 0 || (size_t)n >= sizeof(joined) || size < (size_t)n + 2)
		return false;
	ret[0] = '\0';
	for (char *part = strtok_r(joined, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
		if (strcmp(part, ".") == 0)
			continue;
		if (strcmp(part, "..") == 0) {
			while (used > 0 && ret[--used] != '/')
				;
			ret[used] = '\0';
			continue;
		}
		used += (size_t)snprintf(ret + used, size - used, "%s%s", used ? "/" : "", part);
	}
	return used > 0;
}

bool image_allow_link(const char *path, const char *target)
{
	char real[PATH_MAX * 2];

	if (!strchr(path, '/') || !normalise(path, target, real, sizeof(real)))
		return false;
	return strncmp(real, "usr/", 4) == 0 || image_allow_path(real) == ALLOW_YES;
}
