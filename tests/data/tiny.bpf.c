// SPDX-License-Identifier: GPL-2.0
// A record for each getppid(2), with what the caller passed as its header; with -DPERF through a perf buffer.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define uint_(name, value) int(*name)[value]
#define type_(name, value) typeof(value) *name

static void *(*lookup)(void *map, const void *key) = (void *)1;
static u64 (*ktime)(void) = (void *)5;
static u32 (*processor)(void) = (void *)8;
static u64 (*pid_tgid)(void) = (void *)14;
static long (*read_kernel)(void *to, u32 size, const void *from) = (void *)113;
#ifdef PERF
static long (*output)(void *ctx, void *map, u64 flags, void *data, u64 size) = (void *)25;
#define put(record) output(ctx, &events, 0xffffffff, record, sizeof(*record))
#else
static long (*output)(void *ring, void *data, u64 size, u64 flags) = (void *)130;
#define put(record) output(&events, record, sizeof(*record), 1)
#endif

struct counter { u64 emitted, lost; };

struct record {
	u32 length;
	u16 event, flags;
	u64 timestamp;
	u32 seq, cpu, tgid, tid, uid, gid;
	u64 cgroup_id, ret, duration;
	char comm[16];
	u64 args[6];
	u64 slot;
	u64 tail[2];
};

#ifdef PERF
struct { uint_(type, 4); uint_(max_entries, 1); type_(key, u32); type_(value, u32); } events SEC(".maps");
#else
struct { uint_(type, 27); uint_(max_entries, 4096); } events SEC(".maps");
#endif
struct { uint_(type, 6); uint_(max_entries, 1); type_(key, u32); type_(value, struct counter); } counters SEC(".maps");
struct { uint_(type, 6); uint_(max_entries, 1); type_(key, u32); type_(value, u32); } sequence SEC(".maps");
struct { uint_(type, 2); uint_(max_entries, 1); type_(key, u32); type_(value, u32); } owner SEC(".maps");

SEC("raw_tp")
int on_enter(u64 *ctx)
{
	u32 zero = 0, *tgid = lookup(&owner, &zero), *seq = lookup(&sequence, &zero);
	struct counter *counter = lookup(&counters, &zero);
	struct record record = {};
	u64 regs[15];

	if (ctx[1] != 110 || !tgid || !seq || !counter || pid_tgid() >> 32 != *tgid)
		return 0;
	read_kernel(regs, sizeof(regs), (void *)ctx[0]);
	record.event = regs[14];
	record.length = regs[13];
	record.flags = regs[12];
	record.timestamp = ktime() - regs[7];
	record.slot = regs[8];
	record.args[0] = regs[9];
	record.tail[0] = 0x6c696174;
	record.seq = (*seq)++;
	record.cpu = processor();
	record.tgid = pid_tgid() >> 32;
	record.tid = pid_tgid();
	counter->emitted++;
	if (put(&record))
		counter->lost++;
	return 0;
}

SEC("raw_tp")
int refused(u64 *ctx)
{
	return *(u64 *)ctx[0];
}

SEC("tp")
int on_tracepoint(u64 *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
