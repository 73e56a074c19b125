/*
 * nlbench: routes as fast as the kernel takes them, by a program that does nothing else.
 * The yardstick for kroute's FIB driver: same prefixes, same messages, 256 per send, no acknowledgements.
 *
 *   nlbench add|replace|delete|dump 4|6 COUNT GATEWAY INTERFACE PROTOCOL METRIC
 *
 * Prints one line of JSON: {"seconds": wall time of the work, "routes": done or dumped, "errors": refused}.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 256, BUFFER = 8 << 20, RECEIVE = 1 << 16 };

struct job {
	const char *verb;
	int family, octets;
	unsigned count, oif, metric;
	unsigned char gateway[16], protocol;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static int open_socket(void)
{
	struct sockaddr_nl self = { .nl_family = AF_NETLINK };
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), size = BUFFER, yes = 1;

	if (s < 0 || bind(s, (void *)&self, sizeof self))
		die("netlink");
	setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	setsockopt(s, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
	setsockopt(s, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &yes, sizeof yes);
	return s;
}

static char *put(char *end, int type, const void *value, int length)
{
	struct rtattr *a = (void *)end;

	a->rta_type = type;
	a->rta_len = RTA_LENGTH(length);
	memcpy(RTA_DATA(a), value, length);
	return end + RTA_SPACE(length);
}

/* The message of one route but for its prefix; the address is the first attribute's. */
static int make_template(const struct job *job, char *message)
{
	static const unsigned char zero[16];
	struct nlmsghdr *header = (void *)message;
	struct rtmsg *route = NLMSG_DATA(header);
	int delete = !strcmp(job->verb, "delete");
	unsigned table = RT_TABLE_MAIN;
	char *end = message + NLMSG_LENGTH(sizeof *route);

	header->nlmsg_type = delete ? RTM_DELROUTE : RTM_NEWROUTE;
	header->nlmsg_flags = NLM_F_REQUEST;
	if (!delete)
		header->nlmsg_flags |= NLM_F_CREATE | (!strcmp(job->verb, "add") ? NLM_F_EXCL : NLM_F_REPLACE);
	route->rtm_family = job->family;
	route->rtm_dst_len = job->family == AF_INET ? 24 : 64;
	route->rtm_table = table;
	route->rtm_protocol = job->protocol;
	route->rtm_type = delete ? RTN_UNSPEC : RTN_UNICAST;
	route->rtm_scope = delete && job->family == AF_INET ? RT_SCOPE_NOWHERE : RT_SCOPE_UNIVERSE;
	end = put(end, RTA_DST, zero, job->octets);
	end = put(end, RTA_TABLE, &table, 4);
	end = put(end, RTA_PRIORITY, &job->metric, 4);
	if (!delete) {
		end = put(end, RTA_GATEWAY, job->gateway, job->octets);
		end = put(end, RTA_OIF, &job->oif, 4);
	}
	return header->nlmsg_len = end - message;
}

/* 20.0.0.0/24, 20.0.1.0/24, ... or 2001:db8:0:0::/64, 2001:db8:0:1::/64, ... */
static void set_prefix(const struct job *job, unsigned char *address, unsigned number)
{
	uint32_t low = htonl(job->family == AF_INET ? 0x14000000u + number * 256 : number);

	if (job->family == AF_INET6) {
		memcpy(address, "\x20\x01\x0d\xb8", 4);
		address += 4;
	}
	memcpy(address, &low, 4);
}

static unsigned drain_errors(int s)
{
	static char buffer[RECEIVE];
	unsigned errors = 0;
	ssize_t got;

	while ((got = recv(s, buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
		struct nlmsghdr *h = (void *)buffer;
		struct nlmsgerr *e = NLMSG_DATA(h);

		errors += h->nlmsg_type == NLMSG_ERROR && e->error;
	}
	if (got < 0 && errno != EAGAIN)
		die("recv");
	return errors;
}

static unsigned program(const struct job *job, int s)
{
	char template[256] = { 0 }, *batch;
	int size = make_template(job, template);
	unsigned done = 0, errors = 0;

	if (!(batch = malloc((size_t)BATCH * size)))
		die("malloc");
	while (done < job->count) {
		char *end = batch;

		for (int i = 0; i < BATCH && done < job->count; i++, done++, end += size) {
			memcpy(end, template, size);
			set_prefix(job, (unsigned char *)end + NLMSG_LENGTH(sizeof(struct rtmsg)) + 4, done);
		}
		if (send(s, batch, end - batch, 0) < 0)
			die("send");
		errors += drain_errors(s);
	}
	free(batch);
	return errors;
}

/* Counts the routes of the protocol; looks at every attribute, as a reader must. */
static unsigned dump(const struct job *job, int s)
{
	static char buffer[RECEIVE];
	struct { struct nlmsghdr h; struct rtmsg r; } request = {
		.h = { .nlmsg_len = sizeof request, .nlmsg_type = RTM_GETROUTE,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.r = { .rtm_family = job->family, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = job->protocol },
	};
	volatile unsigned seen = 0;
	unsigned count = 0;

	if (send(s, &request, sizeof request, 0) < 0)
		die("send");
	for (;;) {
		int left = recv(s, buffer, sizeof buffer, 0);

		if (left <= 0)
			die("recv");
		for (struct nlmsghdr *h = (void *)buffer; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			struct rtmsg *r = NLMSG_DATA(h);
			int length = h->nlmsg_len - NLMSG_LENGTH(sizeof *r);

			if (h->nlmsg_type != RTM_NEWROUTE)
				return count;
			for (struct rtattr *a = RTM_RTA(r); RTA_OK(a, length); a = RTA_NEXT(a, length))
				seen += a->rta_type;
			count++;
		}
	}
}

int main(int argc, char **argv)
{
	struct job job = { 0 };
	unsigned errors = 0, routes;
	double start;
	int s;

	if (argc != 8) {
		fputs("usage: nlbench add|replace|delete|dump 4|6 COUNT GATEWAY INTERFACE PROTOCOL METRIC\n", stderr);
		return 2;
	}
	job.verb = argv[1];
	job.family = argv[2][0] == '4' ? AF_INET : AF_INET6;
	job.octets = job.family == AF_INET ? 4 : 16;
	job.count = atoi(argv[3]);
	if (inet_pton(job.family, argv[4], job.gateway) != 1 || !(job.oif = if_nametoindex(argv[5])))
		die(argv[4]);
	job.protocol = atoi(argv[6]);
	job.metric = atoi(argv[7]);
	s = open_socket();
	start = now();
	if (!strcmp(job.verb, "dump")) {
		routes = dump(&job, s);
	} else {
		errors = program(&job, s);
		routes = job.count - errors;
	}
	printf("{\"seconds\": %.6f, \"routes\": %u, \"errors\": %u}\n", now() - start, routes, errors);
	return 0;
}
