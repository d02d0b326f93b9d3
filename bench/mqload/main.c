/* mqload: its flags, and what all of it starts with. */
#include "mqload.h"

uint32_t magic;

const char *mapname[] = {"pair", "fanin", "fanout", "shared", "subs", "retained", "queue", "work"};

struct options O = {.host = "127.0.0.1", .port = 1883, .ver = 4, .pubs = 1, .subs = 1, .size = 64,
       .subqos = -1, .inflight = 100, .threads = 1, .secs = 0, .warmup = 1, .drain = 3, .hold = 1,
       .conc = 128, .clients = 100, .sbatch = 100, .wildpct = 50, .perip = 2000, .label = "",
       .topic = "mqload", .after = 10, .wspath = "/mqtt"};

void die(const char *f, ...)
{
	va_list a;
	va_start(a, f);
	fprintf(stderr, "mqload: ");
	vfprintf(stderr, f, a);
	fputc('\n', stderr);
	va_end(a);
	exit(2);
}

void *xcalloc(size_t n, size_t s)
{
	void *p = calloc(n ? n : 1, s ? s : 1);
	if (!p) die("out of memory");
	return p;
}

/* -------------------------------------------------------------------- main */
static const char *usage =
"usage: mqload SCENARIO [flags]     one line of JSON on stdout\n"
"scenarios: pubsub connect subs retained queue work retry\n"
"  --host A --port N --ver 3|4|5 (4 = 3.1.1)   --tls [--cafile F]   --ws [--wspath /mqtt]\n"
"  --user U --pass P --keepalive S --threads N --label TEXT --pid P[,P..] (broker: CPU, RSS)\n"
"pubsub:   --map pair|fanin|fanout|shared --pubs P --subs S --size B --qos Q [--subqos Q]\n"
"          --secs D [--warmup D] | --count N      --rate MSGS/S (all publishers together)\n"
"          --window W (messages under way per publisher, end to end)  --flood (no window)\n"
"          --inflight N (QoS>0) --batch N (messages per write at most) --spin --verify\n"
"          --wildsub (fanout: one '+' filter) --drain S\n"
"connect:  --count N --conc K --hold S --perip N [--churn]\n"
"subs:     --count N --clients C --wildpct 0..100 --sbatch N --pubs P --secs D\n"
"          --filters M (--ver 5: all on one topic, by attribute; M of them want each message)\n"
"retained: --count N --pubs P --qos Q [--wildsub: '#'] [--cleanup]\n"
"queue:    --count N --subs K(sessions) --pubs P --qos 1|2 --inflight N\n"
"work:     --pubs P --subs S --size B --secs D [--warmup D] --window W --inflight N\n"
"          --backlog N (so many wait in the queue all the time)     queue: that of --topic's name\n"
"retry:    --count N --after S --size B (each is put off once, for S to 2 S seconds)\n";

/* Into O; false: usage was wrong. */
static bool parse_flags(int argc, char **argv)
{
	enum { o_host = 1, o_port, o_ver, o_tls, o_ca, o_ws, o_wsp, o_user, o_pass, o_ka, o_filters, o_thr, o_label, o_pid, o_map, o_pubs, o_subs,
	       o_size, o_qos, o_subqos, o_secs, o_warm, o_count, o_rate, o_win, o_flood, o_infl, o_batch, o_spin, o_ver2, o_ws2, o_drain,
	       o_conc, o_hold, o_perip, o_churn, o_cli, o_wp, o_sb, o_clean, o_topic, o_backlog, o_after, o_help };
	static struct option L[] = {
		{"host", 1, 0, o_host}, {"port", 1, 0, o_port}, {"ver", 1, 0, o_ver}, {"tls", 0, 0, o_tls}, {"cafile", 1, 0, o_ca},
		{"ws", 0, 0, o_ws}, {"wspath", 1, 0, o_wsp}, {"user", 1, 0, o_user}, {"pass", 1, 0, o_pass}, {"keepalive", 1, 0, o_ka},
		{"threads", 1, 0, o_thr}, {"label", 1, 0, o_label}, {"pid", 1, 0, o_pid}, {"map", 1, 0, o_map}, {"pubs", 1, 0, o_pubs},
		{"filters", 1, 0, o_filters}, {"subs", 1, 0, o_subs}, {"size", 1, 0, o_size}, {"qos", 1, 0, o_qos}, {"subqos", 1, 0, o_subqos}, {"secs", 1, 0, o_secs},
		{"warmup", 1, 0, o_warm}, {"count", 1, 0, o_count}, {"rate", 1, 0, o_rate}, {"window", 1, 0, o_win}, {"flood", 0, 0, o_flood},
		{"inflight", 1, 0, o_infl}, {"batch", 1, 0, o_batch}, {"spin", 0, 0, o_spin}, {"verify", 0, 0, o_ver2}, {"wildsub", 0, 0, o_ws2},
		{"drain", 1, 0, o_drain}, {"conc", 1, 0, o_conc}, {"hold", 1, 0, o_hold}, {"perip", 1, 0, o_perip}, {"churn", 0, 0, o_churn},
		{"clients", 1, 0, o_cli}, {"wildpct", 1, 0, o_wp}, {"sbatch", 1, 0, o_sb}, {"cleanup", 0, 0, o_clean}, {"topic", 1, 0, o_topic}, {"backlog", 1, 0, o_backlog}, {"after", 1, 0, o_after},
		{"help", 0, 0, o_help}, {0}};
	if (argc < 2 || argv[1][0] == '-') return false;
	O.scen = argv[1];
	optind = 2;
	int o;
	while ((o = getopt_long(argc, argv, "", L, NULL)) != -1) switch (o) {
		case o_host: O.host = optarg; break;
		case o_port: O.port = atoi(optarg); break;
		case o_ver: O.ver = atoi(optarg); if (O.ver == 3) O.ver = 4; break;
		case o_tls: O.tls = 1; break;
		case o_ca: O.cafile = optarg; break;
		case o_ws: O.ws = 1; break;
		case o_wsp: O.wspath = optarg; break;
		case o_user: O.user = optarg; break;
		case o_pass: O.pass = optarg; break;
		case o_ka: O.keepalive = atoi(optarg); break;
		case o_thr: O.threads = atoi(optarg); break;
		case o_label: O.label = optarg; break;
		case o_pid: for (char *s = strtok(optarg, ","); s && O.npid < MAXPID; s = strtok(NULL, ",")) O.pid[O.npid++] = atoi(s); break;
		case o_map:
			for (o = 0; o < 4; o++) if (!strcmp(optarg, mapname[o])) break;
			if (o == 4) die("unknown map %s", optarg);
			O.map = o;
			break;
		case o_pubs: O.pubs = atoi(optarg); break;
		case o_subs: O.subs = atoi(optarg); break;
		case o_filters: O.filters = atoi(optarg); break;
		case o_size: O.size = atoi(optarg); break;
		case o_qos: O.qos = atoi(optarg); break;
		case o_subqos: O.subqos = atoi(optarg); break;
		case o_secs: O.secs = atof(optarg); break;
		case o_warm: O.warmup = atof(optarg); break;
		case o_count: O.count = strtoull(optarg, NULL, 10); break;
		case o_rate: O.rate = atof(optarg); break;
		case o_win: O.window = strtoull(optarg, NULL, 10); break;
		case o_flood: O.flood = 1; break;
		case o_infl: O.inflight = atoi(optarg); break;
		case o_batch: O.batch = atoi(optarg); break;
		case o_spin: O.spin = 1; break;
		case o_ver2: O.verify = 1; break;
		case o_ws2: O.wildsub = 1; break;
		case o_drain: O.drain = atof(optarg); break;
		case o_conc: O.conc = atoi(optarg); break;
		case o_hold: O.hold = atof(optarg); break;
		case o_perip: O.perip = atoi(optarg); break;
		case o_churn: O.churn = 1; break;
		case o_cli: O.clients = atoi(optarg); break;
		case o_wp: O.wildpct = atoi(optarg); break;
		case o_sb: O.sbatch = atoi(optarg); break;
		case o_clean: O.cleanup = 1; break;
		case o_topic: O.topic = optarg; break;
		case o_backlog: O.backlog = strtoull(optarg, NULL, 10); break;
		case o_after: O.after = atof(optarg); break;
		default: return false;
	}
	return true;
}

static void check_flags(void)
{
	if (O.subqos < 0) O.subqos = O.qos;
	if (O.size < HDR) die("--size must be at least %d", HDR);
	if (O.pubs < 1 || O.subs < 1 || O.threads < 1 || O.threads > MAXTHR || O.inflight < 1 || O.inflight > 65535 || O.qos < 0 || O.qos > 2)
		die("a flag is out of range");
	if (O.ver != 4 && O.ver != 5) die("--ver must be 3, 4 or 5");
	if (strlen(O.topic) > 200) die("--topic too long");
}

static void raise_limits(void)
{
	struct rlimit rl;
	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = rl.rlim_max = 1048576;
	if (setrlimit(RLIMIT_NOFILE, &rl)) { getrlimit(RLIMIT_NOFILE, &rl); rl.rlim_cur = rl.rlim_max; setrlimit(RLIMIT_NOFILE, &rl); }
}

static void find_server(void)
{
	struct addrinfo hi = {.ai_socktype = SOCK_STREAM}, *ai;
	char ps[16];
	snprintf(ps, sizeof ps, "%d", O.port);
	if (getaddrinfo(O.host, ps, &hi, &ai)) die("cannot resolve %s", O.host);
	memcpy(&srv, ai->ai_addr, ai->ai_addrlen);
	srvlen = ai->ai_addrlen;
	freeaddrinfo(ai);
}

static void set_up_tls(void)
{
#ifdef WITH_TLS
	ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	if (O.cafile) {
		if (!SSL_CTX_load_verify_locations(ctx, O.cafile, NULL)) die("cannot load %s", O.cafile);
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	}
#else
	die("built without TLS");
#endif
}

int main(int argc, char **argv)
{
	static const struct { const char *name; void (*run)(void); } scenarios[] = {
		{"pubsub", scen_pubsub}, {"connect", scen_connect}, {"subs", scen_subs}, {"retained", scen_retained},
		{"queue", scen_queue}, {"work", scen_work}, {"retry", scen_retry}};
	if (!parse_flags(argc, argv)) { fputs(usage, stderr); return 2; }
	check_flags();
	signal(SIGPIPE, SIG_IGN);
	raise_limits();
	magic = (uint32_t)(now_ns() * 2654435761u) ^ (uint32_t)getpid() << 8;
	pattern = malloc((size_t)O.size);
	for (int i = 0; i < O.size; i++) pattern[i] = (uint8_t)('a' + i % 26);
	find_server();
	if (O.tls) set_up_tls();
	for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
		if (strcmp(O.scen, scenarios[i].name)) continue;
		scenarios[i].run();
		return 0;
	}
	fputs(usage, stderr);
	return 2;
}
