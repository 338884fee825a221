/* SPDX-License-Identifier: MIT
 *
 * Classes by what they say and by number; those that permit a tenant in a list by its name.
 */
#include "engine/class.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/map.h"
#include "base/memory.h"
#include "base/text.h"

struct permitted { /* a tenant, by its name */
	LIST_HEAD(, grant) grants;
	char name[];
};

struct grant {
	LIST_ENTRY(grant) link;
	struct permitted *to;
	struct class *class;
};

struct class
{
	uint32_t id;
	unsigned users; /* ports */
	char *text;     /* the owner and the names, a line each */
	size_t count;
	struct grant grants[];
};

struct niwa_classes {
	struct niwa_map *by_text, *by_id, *permitted;
	uint32_t next;
	bool any; /* there was a port for everybody */
};

struct niwa_classes *niwa_classes_new(void)
{
	struct niwa_classes *c = niwa_zalloc(sizeof(*c));

	if (!c)
		return NULL;
	c->by_text = niwa_map_new(NIWA_MAP_STRING);
	c->by_id = niwa_map_new(NIWA_MAP_U64);
	c->permitted = niwa_map_new(NIWA_MAP_STRING);
	if (!c->by_text || !c->by_id || !c->permitted)
		niwa_classes_free(&c);
	return c;
}

static void class_free(struct niwa_classes *c, struct class *class)
{
	for (size_t i = 0; i < class->count; i++) {
		struct permitted *to = class->grants[i].to;

		LIST_REMOVE(&class->grants[i], link);
		if (!LIST_EMPTY(&to->grants))
			continue;
		(void)niwa_map_del_str(c->permitted, to->name);
		free(to);
	}
	if (niwa_map_get_str(c->by_text, class->text) == class)
		(void)niwa_map_del_str(c->by_text, class->text);
	(void)niwa_map_del(c->by_id, class->id);
	free(class->text);
	free(class);
}

void niwa_classes_free(struct niwa_classes **classes)
{
	struct niwa_classes *c = *classes;
	struct class *class;
	size_t pos = 0;

	*classes = NULL;
	if (!c)
		return;
	while (c->by_id && (class = niwa_map_next(c->by_id, &pos)))
		class_free(c, class);
	niwa_map_free(&c->by_text);
	niwa_map_free(&c->by_id);
	niwa_map_free(&c->permitted);
	free(c);
}

static struct permitted *permitted_get(struct niwa_classes *c, const char *tenant)
{
	struct permitted *p = niwa_map_get_str(c->permitted, tenant);
	size_t size = strlen(tenant) + 1;

	if (p || !(p = niwa_zalloc(sizeof(*p) + size)))
		return p;
	memcpy(p->name, tenant, size);
	if (niwa_map_put_str(c->permitted, p->name, p) == 0)
		return p;
	free(p);
	return NULL;
}

/* Named twice is named once. */
static int permit(struct niwa_classes *c, struct class *class, const char *tenant)
{
	struct permitted *to = permitted_get(c, tenant);

	if (!to)
		return -ENOMEM;
	for (size_t i = 0; i < class->count; i++)
		if (class->grants[i].to == to)
			return 0;
	class->grants[class->count] = (struct grant){.to = to, .class = class};
	LIST_INSERT_HEAD(&to->grants, &class->grants[class->count], link);
	class->count++;
	return 0;
}

/* Millions of apps come and go before a number does again, and then it is another's only where that one is gone. */
static uint32_t number(struct niwa_classes *c)
{
	uint32_t id;

	do
		id = NIWA_CLASS_FIRST + c->next++ % (NIWA_CLASS_ANY - NIWA_CLASS_FIRST);
	while (niwa_map_get(c->by_id, id));
	return id;
}

/* Takes the text. */
static struct class *class_new(struct niwa_classes *c, const char *owner, const struct niwa_port *port, char *text)
{
	struct class *class = niwa_zalloc(sizeof(*class) + (port->allow_count + 1) * sizeof(class->grants[0]));
	int r;

	if (!class) {
		free(text);
		return NULL;
	}
	class->text = text;
	class->id = number(c);
	r = permit(c, class, owner);
	for (size_t i = 0; r == 0 && i < port->allow_count; i++)
		r = permit(c, class, port->allow[i]);
	if (r == 0)
		r = niwa_map_put(c->by_id, class->id, class);
	if (r == 0)
		r = niwa_map_put_str(c->by_text, class->text, class);
	if (r == 0)
		return class;
	class_free(c, class);
	return NULL;
}

static char *text_of(const char *owner, const struct niwa_port *port)
{
	struct niwa_text text = {0};

	niwa_text_add(&text, owner);
	for (size_t i = 0; i < port->allow_count; i++) {
		niwa_text_add(&text, "\n"); /* in no name */
		niwa_text_add(&text, port->allow[i]);
	}
	if (text.failed)
		niwa_text_fini(&text);
	return text.data;
}

static void tell(const struct class *class, const struct niwa_class_told *told)
{
	for (size_t i = 0; told->fn && i < class->count; i++)
		told->fn(class->id, class->grants[i].to->name, told->arg);
}

static int take_any(struct niwa_classes *c, const struct niwa_class_told *told, uint32_t *ret_id)
{
	if (!c->any && told->fn)
		told->fn(NIWA_CLASS_ANY, NULL, told->arg);
	c->any = true;
	*ret_id = NIWA_CLASS_ANY;
	return 0;
}

int niwa_class_take(struct niwa_classes *c, const char *owner, const struct niwa_port *port,
		    const struct niwa_class_told *told, uint32_t *ret_id)
{
	struct class *class;
	char *text;

	if (port->allow_any)
		return take_any(c, told, ret_id);
	text = text_of(owner, port);
	if (!text)
		return -ENOMEM;
	class = niwa_map_get_str(c->by_text, text);
	if (class) {
		free(text);
	} else {
		class = class_new(c, owner, port, text);
		if (!class)
			return -ENOMEM;
		tell(class, told);
	}
	class->users++;
	*ret_id = class->id;
	return 0;
}

void niwa_class_give_back(struct niwa_classes *c, uint32_t id, const struct niwa_class_told *told)
{
	struct class *class = id < NIWA_CLASS_FIRST ? NULL : niwa_map_get(c->by_id, id);

	if (!class || --class->users)
		return;
	tell(class, told);
	class_free(c, class);
}

void niwa_classes_of(const struct niwa_classes *c, const char *tenant, niwa_class_told_fn *fn, void *arg)
{
	const struct permitted *p = niwa_map_get_str(c->permitted, tenant);
	const struct grant *g;

	if (c->any)
		fn(NIWA_CLASS_ANY, tenant, arg);
	if (!p)
		return;
	LIST_FOREACH(g, &p->grants, link)
	fn(g->class->id, tenant, arg);
}
