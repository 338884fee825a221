/* SPDX-License-Identifier: MIT
 *
 * What the parts of niwa-api share: the loop, what is answered from, and the two ways of asking. One thread.
 */
#ifndef NIWA_API_API_PRIVATE_H
#define NIWA_API_API_PRIVATE_H

#include <netinet/in.h>

#include <systemd/sd-event.h>

#include "api/answer.h"
#include "base/error.h"

/* Who asks: the host itself and whoever can reach it; or instances, whose questions come with the lower priority, and
 * of each only so many a second. */
enum niwa_door { NIWA_DOOR_HOST, NIWA_DOOR_INSTANCES, NIWA_DOORS };

struct niwa_settings { /* as niwad tells them */
	char domain[NIWA_ZONE_KEY_MAX];
	struct sockaddr_in listen[NIWA_DOORS]; /* port 0: not at this door */
	struct sockaddr_in metrics;            /* port 0: they are not told */
	uint32_t ttl, negative_ttl;
	struct niwa_ula ula;
	unsigned tcp_connections;
	uint64_t tcp_idle_us;
	uint32_t instance_rate; /* questions a second */
};

#define NIWA_API_CODES 7 /* those of DNS that we send, and the others */

struct niwa_api_counts {
	uint64_t udp, tcp, codes[NIWA_API_CODES];
	uint64_t dropped; /* of instances that ask too much */
};

struct niwa_api {
	sd_event *event;
	const char *socket_path;
	struct niwa_settings settings; /* once: with others the program ends and is started again */
	struct niwa_dns dns;           /* names NULL: no settings yet, nobody is listened to */
	struct niwa_watch *watch;
	struct niwa_udp *udp[NIWA_DOORS];
	struct niwa_tcp *tcp[NIWA_DOORS];
	struct niwa_http *http;
	struct niwa_api_counts counts;
};

/* The sockets are open, names are known as they come. */
int niwa_api_settle(struct niwa_api *api, const struct niwa_settings *settings, struct niwa_error *err);

int niwa_udp_open(struct niwa_api *api, enum niwa_door door, struct niwa_error *err);
void niwa_udp_close(struct niwa_api *api, enum niwa_door door);
int niwa_tcp_open(struct niwa_api *api, enum niwa_door door, struct niwa_error *err);
void niwa_tcp_close(struct niwa_api *api, enum niwa_door door);
int niwa_door_priority(enum niwa_door door); /* of its event sources */

/* An answer of niwa_dns_answer, for the counts. */
void niwa_api_count(struct niwa_api *api, const uint8_t *answer);

int niwa_http_open(struct niwa_api *api, struct niwa_error *err); /* 0 also when it is off */
void niwa_http_close(struct niwa_api *api);
/* niwad's answer to niwa_watch_ask_metrics; NULL: there will be none. */
void niwa_http_told(struct niwa_api *api, const char *text);

/* The conversation with niwad: begun, and begun again whenever it ends, until closed. */
int niwa_watch_open(struct niwa_api *api, struct niwa_error *err);
void niwa_watch_close(struct niwa_api *api);
/* Takes what niwad has told by now. Called between reading a question and answering it: a name was told before the
 * apply that made it was answered, so whoever asks after that apply is answered with it. */
void niwa_watch_catch_up(struct niwa_api *api);
/* niwa_http_told follows. Negative: niwad cannot be asked, nothing follows. */
int niwa_watch_ask_metrics(struct niwa_api *api);

#endif
