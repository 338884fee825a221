/* SPDX-License-Identifier: MIT
 *
 * A store in a folder of its own.
 */
#include "test_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"

void fixture_open(struct fixture *f, const char *dir)
{
	struct niwa_error err = {0};

	*f = (struct fixture){0};
	(void)snprintf(f->dir, sizeof(f->dir), "%s", dir);
	if (niwa_store_open(f->dir, &f->store, &err) < 0)
		fail_msg("%s", err.msg);
}

void fixture_init_in(struct fixture *f, const char *parent)
{
	char dir[sizeof(f->dir)];

	(void)snprintf(dir, sizeof(dir), "%s/niwa-store-XXXXXX", parent);
	assert_non_null(mkdtemp(dir));
	fixture_open(f, dir);
}

/* In memory, where it can be had: syncing to a disk that others use takes its time. */
void fixture_init(struct fixture *f)
{
	fixture_init_in(f, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
}

void fixture_fini(struct fixture *f)
{
	niwa_store_close(&f->store);
	assert_int_equal(niwa_remove_tree(f->dir, NULL), 0);
}

struct niwa_snapshot_key fixture_key(char digit)
{
	struct niwa_snapshot_key key = {0};

	memset(key.hex, digit, NIWA_KEY_HEX);
	return key;
}

uint8_t *fixture_sample(const char *name, size_t *ret_len)
{
	NIWA_AUTO(niwa_free_ptr) char *path = niwa_asprintf("%s/%s", getenv("NIWA_TEST_CORPUS"), name);
	NIWA_AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint8_t *data;

	if (fd < 0 || fstat(fd, &st) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	data = malloc((size_t)st.st_size);
	assert_non_null(data);
	assert_int_equal(pread(fd, data, (size_t)st.st_size - 1, 1), st.st_size - 1);
	*ret_len = (size_t)st.st_size - 1;
	return data;
}

int fixture_try_file(int dir, const char *name, const void *data, size_t len)
{
	NIWA_AUTO_FD fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	errno = 0;
	if (fd < 0)
		return -ENOSPC; /* the only reason in these tests */
	return write(fd, data, len) == (ssize_t)len ? 0 : -(errno ? errno : ENOSPC);
}

void fixture_file(int dir, const char *name, const void *data, size_t len)
{
	assert_int_equal(fixture_try_file(dir, name, data, len), 0);
}

static int put_pages(int images, size_t bytes)
{
	NIWA_AUTO_FD fd = openat(images, "pages-1.img", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	char page[4096];

	if (fd < 0)
		return -errno;
	for (size_t done = 0; done < bytes; done += sizeof(page)) {
		memset(page, 'p', sizeof(page));
		memcpy(page, &done, sizeof(done));
		if (write(fd, page, sizeof(page)) != (ssize_t)sizeof(page))
			return -(errno ? errno : ENOSPC);
	}
	return 0;
}

static int put_samples(struct niwa_store_new *s)
{
	static const char *const samples[][2] = {{"inventory", "inventory.img"},
						 {"ids-101", "ids-101.img"},
						 {"pstree", "pstree.img"},
						 {"files", "files.img"}};
	int r = 0;

	for (size_t i = 0; r == 0 && i < NIWA_ARRAY_LEN(samples); i++) {
		size_t len;
		NIWA_AUTO(niwa_free_ptr) uint8_t *data = fixture_sample(samples[i][0], &len);

		r = fixture_try_file(s->images, samples[i][1], data, len);
	}
	return r;
}

static int put_layer(struct niwa_store_new *s)
{
	int r;

	if (mkdirat(s->dir, "layer/tmp", 01777) < 0 || symlinkat("nowhere", s->dir, "layer/tmp/link") < 0)
		return -errno;
	r = fixture_try_file(s->dir, "layer/tmp/odd \\\n\xff name", "x", 1);
	return r < 0 ? r : fixture_try_file(s->dir, "shm/segment", "memory", 6);
}

int fixture_begin(struct fixture *f, size_t page_bytes, struct niwa_store_new *s, struct niwa_error *err)
{
	int r = niwa_store_begin(&f->store, &f->limits, page_bytes, s, err);

	niwa_store_evicted_fini(&s->evicted);
	if (r < 0)
		return r;
	r = put_samples(s);
	if (r == 0)
		r = put_layer(s);
	if (r == 0)
		r = put_pages(s->images, page_bytes);
	if (r < 0)
		niwa_store_abort(&f->store, s);
	return r;
}

int fixture_commit(struct fixture *f, struct niwa_store_new *s, char digit, struct niwa_error *err)
{
	struct niwa_manifest m = {.key = fixture_key(digit),
				  .root_pid = 101,
				  .free_pid = 300,
				  .log_pipe = 4711,
				  .taken_us = niwa_realtime_us(),
				  .cold_us = 500000,
				  .app = "blog.example.com"};
	int r = niwa_store_commit(&f->store, &f->limits, s, &m, err);

	niwa_manifest_fini(&m);
	niwa_store_evicted_fini(&s->evicted);
	return r;
}

int fixture_put(struct fixture *f, char digit, size_t page_bytes, struct niwa_error *err)
{
	struct niwa_store_new s;
	int r = fixture_begin(f, page_bytes, &s, err);

	return r < 0 ? r : fixture_commit(f, &s, digit, err);
}

unsigned fixture_count(const struct fixture *f, const char *prefix)
{
	int fd = openat(f->store.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fdopendir(fd);
	unsigned count = 0;

	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir));)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
		    strncmp(e->d_name, prefix, strlen(prefix)) == 0)
			count++;
	(void)closedir(dir);
	return count;
}

bool fixture_has(const struct fixture *f, char digit, enum niwa_store_check check)
{
	struct niwa_snapshot_key key = fixture_key(digit);
	struct niwa_store_image image;
	struct niwa_error err = {0};
	int r = niwa_store_use(&f->store, &key, check, &image, &err);

	niwa_store_image_close(&image);
	if (r < 0 && r != -ENOENT)
		print_message("%s\n", err.msg);
	return r == 0;
}
