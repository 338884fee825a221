/* SPDX-License-Identifier: MIT
 *
 * Whole instances, started by the real niwa-keep from real plans.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "container/image_import.h"
#include "container/test_run_fixture.h"

static struct world world;

#define ARGV(...) ((char *[]){(char *)(uintptr_t) "/bin/guest", __VA_ARGS__, NULL})
#define TEXT(s)   ((char *)(uintptr_t)(s))

static int open_world(void **state)
{
	world_open(&world);
	return 0;
}

static int close_world(void **state)
{
	world_close(&world);
	return 0;
}

/* Runs verbs of the guest to their end. */
static int guest(struct app *a, char *log, size_t size)
{
	struct started s;

	app_start(&world, a, &s);
	return started_end(&world, &s, log, size);
}

static void has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in: %s", part, text);
}

static void has_not(const char *text, const char *part)
{
	if (strstr(text, part))
		fail_msg("'%s' is in: %s", part, text);
}

static void a_folder_image_answers_at_its_private_address(void **state)
{
	struct started s;
	struct app a;
	char answer[512];

	app_init(&world, &a, "plain", ARGV(TEXT("serve"), TEXT("80")));
	a.params.uid = 33;
	a.params.gid = 33;
	app_start(&world, &a, &s);
	ask(&s, 80, "hello", answer, sizeof(answer));
	assert_string_equal(answer, "blog.example.com uid 33 pid 1: hello\n");
	started_kill(&world, &s);
	app_fini(&a);
}

static void the_process_is_who_and_where_it_should_be(void **state)
{
	struct app a;
	char log[8192];

	app_init(&world, &a, "plain",
		 ARGV(TEXT("ids"), TEXT("env"), TEXT("show"), TEXT("/proc/self/status"), TEXT("show"),
		      TEXT("/etc/hosts"), TEXT("show"), TEXT("/etc/resolv.conf"), TEXT("owner"), TEXT("/"),
		      TEXT("owner"), TEXT("/dev/null"), TEXT("exit"), TEXT("7")));
	a.params.uid = 33;
	a.params.gid = 33;
	a.params.groups[0] = 4;
	a.params.group_count = 1;
	a.params.home = "/srv";
	a.spec.workdir = TEXT("/tmp");
	a.spec.env = (char *[]){TEXT("PATH=/bin"), TEXT("COLOUR=green"), NULL};
	assert_int_equal(guest(&a, log, sizeof(log)), 7);
	has(log, "ids 33:33 4 pid 1 sid 1 cwd /tmp\n");
	has(log, "\nPATH=/bin\n");
	has(log, "\nHOME=/srv\n");
	has(log, "\nCOLOUR=green\n");
	has(log, "\ncontainer=niwa\n");
	has(log, "\nNIWA_APP=blog.example.com\n");
	has(log, "CapEff:\t0000000000000000");
	has(log, "CapBnd:\t00000000800405fb");
	has(log, "NoNewPrivs:\t1");
	has(log, "Seccomp:\t2");
	has(log, "10.64.3.4 blog.example.com\n");
	has(log, "nameserver 10.80.0.1\n");
	has(log, "/: 0:0 755\n");
	app_fini(&a);
}

static void python_serves_from_the_host_image(void **state)
{
	struct started s;
	struct app a;
	char answer[4096];

	app_init(&world, &a, "host",
		 (char *[]){TEXT("python3"), TEXT("-m"), TEXT("http.server"), TEXT("80"), TEXT("-d"),
			    TEXT("/usr/share/doc"), NULL});
	a.params.uid = 33;
	a.params.gid = 33;
	app_start(&world, &a, &s);
	ask(&s, 80, "GET / HTTP/1.0\r\n\r\n", answer, sizeof(answer));
	has(answer, "200 OK");
	has(answer, "Directory listing");
	started_kill(&world, &s);
	app_fini(&a);
}

/* Runs a Python program in the host image as root of the container. */
static int python(struct app *a, const char *program, char *log, size_t size)
{
	struct started s;

	app_init(&world, a, "host", (char *[]){TEXT("python3"), TEXT("-c"), TEXT(program), NULL});
	app_start(&world, a, &s);
	return started_end(&world, &s, log, size);
}

/* Every file that container root can read outside /usr, /proc and /dev must be one of the image or of niwa. */
static void root_of_the_host_image_reads_nothing_but_what_it_was_given(void **state)
{
	static const char program[] =
		"import os\n"
		"for base, dirs, files in os.walk('/'):\n"
		"    if base == '/':\n"
		"        dirs[:] = [d for d in dirs if d not in ('proc', 'usr', 'dev')]\n"
		"    for f in files:\n"
		"        p = os.path.join(base, f)\n"
		"        if os.path.islink(p):\n"
		"            continue\n"
		"        try:\n"
		"            open(p, 'rb').read(1)\n"
		"            print(p)\n"
		"        except OSError as e:\n"
		"            print('no', p)\n"
		"for p in ('/etc/shadow', '/etc/ssh', '/etc/ssl/private', '/etc/machine-id', '/var/lib/dpkg', "
		"'/var/log/dpkg.log'):\n"
		"    print('forbidden', p) if os.path.lexists(p) else None\n"
		"hidden = []\n"
		"for base, dirs, files in os.walk('/usr'):\n"
		"    if base.count('/') > 3:\n"
		"        dirs[:] = []\n"
		"    for n in dirs + files:\n"
		"        s = os.lstat(os.path.join(base, n))\n"
		"        if not s.st_mode & 0o004 and os.access(os.path.join(base, n), os.R_OK):\n"
		"            print('opened', base, n)\n"
		"print('end')\n";
	static char log[1 << 20];
	struct app a;
	char *save = NULL;

	assert_int_equal(python(&a, program, log, sizeof(log)), 0);
	has(log, "/etc/passwd\n");
	has(log, "\nend\n");
	has_not(log, "forbidden");
	has_not(log, "opened");
	for (char *line = strtok_r(log, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char path[4096];
		struct stat st;

		if (line[0] != '/' || strncmp(line, "/run/niwa/", 10) == 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s%s", a.image->root, line);
		if (lstat(path, &st) < 0)
			fail_msg("%s is readable and not of the image", line);
	}
	app_fini(&a);
}

static void root_of_a_container_has_no_hold_on_the_kernel(void **state)
{
	static const char program[] =
		"import os\n"
		"for base, dirs, files in os.walk('/proc'):\n"
		"    if base == '/proc':\n"
		"        dirs[:] = [d for d in dirs if not d.isdigit() and d not in ('self', 'thread-self')]\n"
		"        files = [f for f in files if f not in ('self', 'thread-self')]\n"
		"    for f in files:\n"
		"        p = os.path.join(base, f)\n"
		"        if os.path.islink(p):\n"
		"            continue\n"
		"        if p.startswith('/proc/pressure/') or os.path.ismount(p): # open to all by design; masked\n"
		"            continue\n"
		"        for flag, word in ((os.O_WRONLY, 'writes'), (os.O_RDONLY | os.O_NONBLOCK, 'reads')):\n"
		"            if word == 'reads' and os.lstat(p).st_mode & 0o004:\n"
		"                continue\n"
		"            try:\n"
		"                os.close(os.open(p, flag))\n"
		"                print(word, p)\n"
		"            except OSError:\n"
		"                pass\n"
		"for p in ('/dev/sda', '/dev/vda', '/dev/kmsg', '/dev/mem', '/sys/kernel'):\n"
		"    print('there', p) if os.path.lexists(p) else None\n"
		"try:\n"
		"    os.mknod('/tmp/null', 0o20666, os.makedev(1, 3)); print('made a device')\n"
		"except OSError:\n"
		"    pass\n"
		"print('mounts', len(open('/proc/self/mounts').readlines()))\n"
		"print('end')\n";
	static char log[1 << 20];
	struct app a;

	assert_int_equal(python(&a, program, log, sizeof(log)), 0);
	has(log, "end\n");
	if (getenv("NIWA_TEST_TIMES"))
		(void)fprintf(stderr, "%s", log);
	has_not(log, "writes");
	has_not(log, "reads");
	has_not(log, "there");
	has_not(log, "made");
	app_fini(&a);
}

/* An image whose folders are links into the host. */
static void an_image_full_of_links_leads_nowhere(void **state)
{
	char command[1024], log[4096], path[160];
	struct app a;

	(void)snprintf(
		command, sizeof(command),
		"mkdir -p %s/evil/bin && cp '%s' %s/evil/bin/guest && cd %s/evil && ln -s /etc proc && ln -s / dev && "
		"ln -s /../../tmp etc && ln -s /../tmp run && ln -s /../../../..%s srv && ln -s /proc/1/root/tmp var",
		world.dir, getenv("NIWA_TEST_GUEST"), world.dir, world.dir, world.dir);
	assert_int_equal(system(command), 0);
	app_init(&world, &a, "evil",
		 ARGV(TEXT("owner"), TEXT("/proc/1"), TEXT("owner"), TEXT("/dev/null"), TEXT("make"),
		      TEXT("/srv/vol/here")));
	a.spec.volume_count = 1;
	a.spec.volumes = &(struct niwa_volume){.from = TEXT("/nonexistent"), .to = TEXT("/srv/vol")};
	(void)snprintf(path, sizeof(path), "%s/volume", world.dir);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(chown(path, 500000, 500000), 0);
	a.spec.volumes[0].from = path;
	/* the start may work (in the instance's own tree) or fail; on the host nothing may appear */
	{
		struct started s;
		const char *op = "";

		if (app_try(&world, &a, &s, &op) == 0)
			(void)started_end(&world, &s, log, sizeof(log));
	}
	(void)snprintf(command, sizeof(command),
		       "test ! -e %s/vol && test ! -e /tmp/hosts && test ! -e /tmp/niwa && test ! -e /tmp/vol",
		       world.dir);
	assert_int_equal(system(command), 0);
	app_fini(&a);
}

static void a_layer_on_disk_has_canonical_ids_and_goes_with_its_instance(void **state)
{
	struct started s;
	struct app a;
	char path[200], line[64] = "";
	struct stat st = {0};

	app_init(&world, &a, "plain", ARGV(TEXT("make"), TEXT("/tmp/new"), TEXT("sleep"), TEXT("60")));
	a.params.uid = 33;
	a.params.gid = 33;
	world.host.layer_on_disk = true;
	app_start(&world, &a, &s);
	world.host.layer_on_disk = false;
	for (int i = 0; i < 500 && read(s.log, line, sizeof(line) - 1) < 0; i++)
		(void)usleep(10000);
	has(line, "make /tmp/new: done");
	(void)snprintf(path, sizeof(path), "%s/layers/%llu/upper/tmp/new", world.state, (unsigned long long)s.id);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 33);
	(void)snprintf(path, sizeof(path), "%s/layers/%llu", world.state, (unsigned long long)s.id);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	started_kill(&world, &s);
	app_fini(&a);
}

/* From an OCI layout to a process: entry point, environment, folder, ids and files as the image says. */
static void an_imported_image_runs_as_it_says(void **state)
{
	struct niwa_image_import import = {.state_dir = world.state, .name = "small"};
	char command[2048], source[160], log[8192];
	struct niwa_error err;
	struct app a;

	(void)snprintf(command, sizeof(command),
		       "cd %s && mkdir -p oci-root/bin oci-root/job && cp '%s' oci-root/bin/guest && chown 33:33 "
		       "oci-root/job && "
		       "tar -C oci-root -cf root.tar . && umoci init --layout oci && umoci new --image oci:v1 && "
		       "umoci raw add-layer --image oci:v1 root.tar && umoci config --image oci:v1 --config.entrypoint "
		       "/bin/guest "
		       "--config.cmd ids --config.cmd env --config.cmd make --config.cmd /job/new --config.cmd owner "
		       "--config.cmd /bin "
		       "--config.env COLOUR=green --config.workingdir /job",
		       world.dir, getenv("NIWA_TEST_GUEST"));
	assert_int_equal(system(command), 0);
	(void)snprintf(source, sizeof(source), "oci:%s/oci:v1", world.dir);
	import.source = source;
	if (niwa_image_import(&import, &err) < 0)
		fail_msg("%s", err.msg);
	app_init(&world, &a, "small", NULL);
	a.params.uid = 33;
	a.params.gid = 33;
	assert_true(a.image->prepared);
	assert_int_equal(guest(&a, log, sizeof(log)), 0);
	has(log, "ids 33:33 pid 1 sid 1 cwd /job\n");
	has(log, "\nCOLOUR=green\n");
	has(log, "make /job/new: done\n");
	has(log, "/bin: 0:0 755\n");
	app_fini(&a);
}

static void volumes_map_their_owners(void **state)
{
	char command[2048], log[4096], tenant[160], user[160], file[160];
	struct niwa_volume volumes[4];
	struct stat st;
	struct app a;

	(void)snprintf(tenant, sizeof(tenant), "%s/vol-tenant", world.dir);
	(void)snprintf(user, sizeof(user), "%s/vol-user", world.dir);
	(void)snprintf(file, sizeof(file), "%s/vol-file", world.dir);
	(void)snprintf(
		command, sizeof(command),
		"mkdir %s %s && chown 500033:500033 %s && chown 1000:1001 %s && echo content > %s && chmod 644 %s && "
		"touch %s/roots && chmod 600 %s/roots",
		tenant, user, tenant, user, file, file, tenant, tenant);
	assert_int_equal(system(command), 0);
	volumes[0] = (struct niwa_volume){.from = tenant, .to = TEXT("/srv/tenant")};
	volumes[1] = (struct niwa_volume){
		.from = user, .to = TEXT("/srv/user"), .owner = NIWA_OWNER_USER, .owner_user = TEXT("anna")};
	volumes[2] = (struct niwa_volume){.from = file, .to = TEXT("/etc/app/file"), .read_only = true};
	volumes[3] = (struct niwa_volume){.from = tenant, .to = TEXT("/srv/ro"), .read_only = true};
	app_init(&world, &a, "plain",
		 ARGV(TEXT("owner"), TEXT("/srv/tenant"), TEXT("make"), TEXT("/srv/tenant/new"), TEXT("owner"),
		      TEXT("/srv/user"), TEXT("make"), TEXT("/srv/user/new"), TEXT("show"), TEXT("/etc/app/file"),
		      TEXT("make"), TEXT("/srv/ro/other"), TEXT("show"), TEXT("/srv/tenant/roots")));
	a.spec.volumes = volumes;
	a.spec.volume_count = 4;
	a.params.volume_ids[1] = (struct niwa_volume_ids){1000, 1001, 33, 33, false};
	a.params.volume_ids[2].is_file = true;
	a.params.uid = 33;
	a.params.gid = 33;
	assert_int_equal(guest(&a, log, sizeof(log)), 0);
	has(log, "/srv/tenant: 33:33 ");
	has(log, "make /srv/tenant/new: done");
	has(log, "/srv/user: 33:33 ");
	has(log, "make /srv/user/new: done");
	has(log, "content\n");
	has(log, "make /srv/ro/other: Read-only file system");
	has(log, "/srv/tenant/roots: Permission denied");
	(void)strcat(tenant, "/new");
	assert_int_equal(stat(tenant, &st), 0);
	assert_int_equal(st.st_uid, 500033);
	(void)strcat(user, "/new");
	assert_int_equal(stat(user, &st), 0);
	assert_int_equal(st.st_uid, 1000);
	assert_int_equal(st.st_gid, 1001);
	app_fini(&a);
}

/* The tenant owns the folder in which its second volume lies, and makes that a link. */
static void a_volume_behind_a_link_is_refused(void **state)
{
	char command[1024], own[160], inner[200];
	struct niwa_volume volume = {.from = inner, .to = TEXT("/srv/inner")};
	struct started s;
	const char *op = "";
	struct app a;

	(void)snprintf(own, sizeof(own), "%s/vol-links", world.dir);
	(void)snprintf(inner, sizeof(inner), "%s/way/alternatives", own);
	(void)snprintf(command, sizeof(command), "mkdir %s && chown 500000:500000 %s && ln -s /etc %s/way", own, own,
		       own);
	assert_int_equal(system(command), 0);
	app_init(&world, &a, "plain", ARGV(TEXT("ids")));
	a.spec.volumes = &volume;
	a.spec.volume_count = 1;
	assert_int_equal(app_try(&world, &a, &s, &op), ELOOP);
	assert_string_equal(op, "open-tree");
	app_fini(&a);
}

static void limits_hold(void **state)
{
	char log[4096];
	struct app a;

	app_init(&world, &a, "plain",
		 ARGV(TEXT("fill"), TEXT("/tmp/big"), TEXT("files"), TEXT("100"), TEXT("spawn"), TEXT("20")));
	a.spec.limits.disk_bytes = 8 << 20;
	a.spec.limits.open_files = 50;
	a.spec.limits.processes = 10;
	assert_int_equal(guest(&a, log, sizeof(log)), 0);
	has(log, "MiB, No space left on device");
	has(log, "Too many open files");
	has(log, "Resource temporarily unavailable");
	app_fini(&a);

	app_init(&world, &a, "plain", ARGV(TEXT("use"), TEXT("60")));
	a.spec.limits.memory_bytes = 32 << 20;
	assert_int_equal(guest(&a, log, sizeof(log)), 128 + 9);
	has_not(log, "used");
	app_fini(&a);
}

static void a_command_is_executed_inside(void **state)
{
	struct started s;
	struct app a;
	char out[4096];

	app_init(&world, &a, "plain", ARGV(TEXT("sleep"), TEXT("60")));
	app_start(&world, &a, &s);
	assert_int_equal(exec_in(&world, &a, &s,
				 ARGV(TEXT("ids"), TEXT("env"), TEXT("show"), TEXT("/proc/1/status"), TEXT("show"),
				      TEXT("/proc/self/status"), TEXT("exit"), TEXT("3")),
				 out, sizeof(out)),
			 3);
	has(out, "ids 0:0 pid 2");
	has(out, "NIWA_APP=blog.example.com\n");
	has(out, "Name:\tguest");
	has(out, "CapBnd:\t00000000800405fb");
	has(out, "NoNewPrivs:\t1");
	has(out, "Seccomp:\t2");
	started_kill(&world, &s);
	app_fini(&a);
}

static void init_is_the_first_process_and_passes_the_status_on(void **state)
{
	struct app a;
	char log[4096];

	app_init(&world, &a, "plain",
		 ARGV(TEXT("ids"), TEXT("show"), TEXT("/proc/1/cmdline"), TEXT("exit"), TEXT("5")));
	a.spec.init = true;
	assert_int_equal(guest(&a, log, sizeof(log)), 5);
	has(log, "pid 2 sid 2");
	has(log, "/run/niwa/init");
	app_fini(&a);
}

/* What an instance left behind that was dumped: a changed file, one that it removed, shared memory. */
static void save_something(char *layer, char *shm)
{
	char command[2048];

	(void)snprintf(layer, 100, "%.60s/saved-layer", world.dir);
	(void)snprintf(shm, 100, "%.60s/saved-shm", world.dir);
	(void)snprintf(command, sizeof(command),
		       "mkdir -p %s/etc %s/bin %s/a/b && echo changed > %s/etc/motd && chown 33:34 %s/etc/motd && "
		       "mknod %s/bin/extra c 0 0 && cd %s && truncate -s 200M holes && printf end >> holes && "
		       "echo deep > a/b/file && chmod 2710 a/b && chown 0:33 a/b && ln -s ../a/b/file a/link && "
		       "mkfifo -m 620 a/fifo && chown 33:33 a a/fifo && chown -h 33:33 a/link && chmod 1777 .",
		       layer, layer, shm, layer, layer, layer, shm);
	assert_int_equal(system(command), 0);
}

static void what_was_saved_of_an_instance_is_there_before_a_restore(void **state)
{
	struct niwa_instance_restore restore = {.pid = 7, .last_pid = 400};
	char layer[100], shm[100], out[4096];
	struct started s;
	struct app a;

	save_something(layer, shm);
	restore.layer = layer;
	restore.shm = shm;
	app_init(&world, &a, "plain", ARGV(TEXT("exit"), TEXT("0")));
	a.params.restore = &restore;
	app_start(&world, &a, &s);
	assert_true(s.layer >= 0);
	assert_int_equal(exec_in(&world, &a, &s,
				 ARGV(TEXT("show"), TEXT("/etc/motd"), TEXT("owner"), TEXT("/etc/motd"), TEXT("owner"),
				      TEXT("/bin/extra"), TEXT("owner"), TEXT("/dev/shm/a/b"), TEXT("owner"),
				      TEXT("/dev/shm/a/link"), TEXT("owner"), TEXT("/dev/shm/a/fifo"), TEXT("show"),
				      TEXT("/dev/shm/a/link"), TEXT("make"), TEXT("/etc/new"), TEXT("ids")),
				 out, sizeof(out)),
			 0);
	has(out, "changed\n/etc/motd: 33:34 644\n/bin/extra: No such file or directory\n");
	has(out, "/dev/shm/a/b: 0:33 2710\n/dev/shm/a/link: 33:33 777\n/dev/shm/a/fifo: 33:33 620\ndeep\n");
	has(out, "make /etc/new: done\n");
	has(out, "pid 401 "); /* the next one behind those that a dump may hold */
	assert_int_equal(faccessat(s.layer, "upper/etc/new", F_OK, 0), 0);
	(void)snprintf(out, sizeof(out), "%s/etc/new", layer);
	assert_int_equal(access(out, F_OK), -1);
	started_kill(&world, &s);
	app_fini(&a);
}

static void saved_shared_memory_that_does_not_fit_is_an_error_of_its_operation(void **state)
{
	struct niwa_instance_restore restore = {.pid = 7, .last_pid = 400};
	char shm[100], command[256];
	struct started s;
	struct app a;
	const char *op = "";

	(void)snprintf(shm, sizeof(shm), "%.60s/too-much", world.dir);
	(void)snprintf(command, sizeof(command), "mkdir %s && head -c 70M /dev/zero > %s/file", shm, shm);
	assert_int_equal(system(command), 0);
	restore.shm = shm;
	app_init(&world, &a, "plain", ARGV(TEXT("exit"), TEXT("0")));
	a.params.restore = &restore;
	assert_int_equal(app_try(&world, &a, &s, &op), ENOSPC);
	assert_string_equal(op, "copy");
	app_fini(&a);
}

static void readiness_is_told_through_the_notify_socket(void **state)
{
	struct started s;
	struct app a;
	char log[1024], text[64] = "";

	app_init(&world, &a, "plain", ARGV(TEXT("notify")));
	a.spec.ready.kind = NIWA_READY_NOTIFY;
	a.params.uid = 33;
	a.params.gid = 33;
	app_start(&world, &a, &s);
	assert_true(s.notify >= 0);
	for (int i = 0; i < 500 && read(s.notify, text, sizeof(text) - 1) < 0; i++)
		(void)usleep(10000);
	assert_string_equal(text, "READY=1");
	assert_int_equal(started_end(&world, &s, log, sizeof(log)), 0);
	has(log, "notify: sent");
	app_fini(&a);
}

static void an_instance_reaches_itself_and_cannot_lie_about_its_address(void **state)
{
	static const char program[] =
		"import socket, threading\n"
		"l = socket.socket(); l.bind(('0.0.0.0', 80)); l.listen(5)\n"
		"c = socket.create_connection(('10.64.3.4', 80), 3)\n"
		"print('own service address', c.getpeername()[0])\n"
		"try:\n"
		"    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP); print('raw')\n"
		"except OSError as e:\n"
		"    print('no raw socket')\n"
		"try:\n"
		"    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); print('packet')\n"
		"except OSError as e:\n"
		"    print('no packet socket')\n"
		"s = socket.socket(); s.setsockopt(socket.IPPROTO_IP, 15, 1)\n";
	struct app a;
	char log[4096];

	(void)python(&a, program, log, sizeof(log));
	has(log, "own service address 10.64.3.4");
	has(log, "no raw socket");
	has(log, "no packet socket");
	app_fini(&a);
}

static void a_start_that_cannot_work_names_its_operation(void **state)
{
	static const struct {
		const char *command, *workdir, *volume;
		int error;
		const char *op;
	} cases[] = {
		{"/bin/none", NULL, NULL, 2, "exec"},
		{"/etc/passwd", NULL, NULL, 13, "exec"},
		{"/bin/guest", "/none", NULL, 2, "chdir"},
		{"/bin/guest", NULL, "/nonexistent/volume", 2, "open-tree"},
	};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		struct niwa_volume volume = {.from = TEXT(cases[i].volume), .to = TEXT("/srv/vol")};
		struct started s;
		const char *op = "";
		struct app a;

		app_init(&world, &a, "plain", (char *[]){TEXT(cases[i].command), NULL});
		a.spec.workdir = TEXT(cases[i].workdir);
		a.spec.volumes = &volume;
		a.spec.volume_count = cases[i].volume ? 1 : 0;
		assert_int_equal(app_try(&world, &a, &s, &op), cases[i].error);
		assert_string_equal(op, cases[i].op);
		app_fini(&a);
	}
}

static int by_time(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void print_times(const char *what, uint64_t *us, size_t count)
{
	qsort(us, count, sizeof(*us), by_time);
	(void)fprintf(stderr, "%s: p10 %.2f, p50 %.2f, p99 %.2f ms of %zu\n", what, (double)us[count / 10] / 1000,
		      (double)us[count / 2] / 1000, (double)us[count * 99 / 100] / 1000, count);
}

/* NIWA_TEST_TIMES=n: n starts, times on standard error. */
static void starting_takes_milliseconds(void **state)
{
	static uint64_t planned[1000], cloned[1000], took[1000];
	const char *n = getenv("NIWA_TEST_TIMES");
	size_t count = n && atoi(n) > 0 && atoi(n) < 1000 ? (size_t)atoi(n) : 10;
	struct started s;
	struct app a;

	app_init(&world, &a, "plain", ARGV(TEXT("sleep"), TEXT("60")));
	a.spec.limits.memory_bytes = 64 << 20;
	a.spec.limits.processes = 64;
	world.host.layer_on_disk = getenv("NIWA_TEST_DISK") != NULL;
	for (size_t i = 0; i < count; i++) {
		app_start(&world, &a, &s);
		planned[i] = s.planned_us;
		cloned[i] = s.cloned_us - s.planned_us;
		took[i] = s.took_us;
		started_kill(&world, &s);
		if (n)
			(void)usleep(100000); /* the kernel takes the old network down, holding a lock */
	}
	if (n) {
		print_times("plan", planned, count);
		print_times("to the clone", cloned, count);
		print_times("request to exec", took, count);
	}
	qsort(took, count, sizeof(*took), by_time);
	assert_true(took[count / 2] < 500000); /* nothing waits for a timeout anywhere */
	app_fini(&a);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_folder_image_answers_at_its_private_address),
		cmocka_unit_test(the_process_is_who_and_where_it_should_be),
		cmocka_unit_test(python_serves_from_the_host_image),
		cmocka_unit_test(root_of_the_host_image_reads_nothing_but_what_it_was_given),
		cmocka_unit_test(root_of_a_container_has_no_hold_on_the_kernel),
		cmocka_unit_test(an_image_full_of_links_leads_nowhere),
		cmocka_unit_test(a_layer_on_disk_has_canonical_ids_and_goes_with_its_instance),
		cmocka_unit_test(an_imported_image_runs_as_it_says),
		cmocka_unit_test(volumes_map_their_owners),
		cmocka_unit_test(a_volume_behind_a_link_is_refused),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(a_command_is_executed_inside),
		cmocka_unit_test(init_is_the_first_process_and_passes_the_status_on),
		cmocka_unit_test(what_was_saved_of_an_instance_is_there_before_a_restore),
		cmocka_unit_test(saved_shared_memory_that_does_not_fit_is_an_error_of_its_operation),
		cmocka_unit_test(readiness_is_told_through_the_notify_socket),
		cmocka_unit_test(an_instance_reaches_itself_and_cannot_lie_about_its_address),
		cmocka_unit_test(a_start_that_cannot_work_names_its_operation),
		cmocka_unit_test(starting_takes_milliseconds),
	};

	return cmocka_run_group_tests(tests, open_world, close_world);
}
