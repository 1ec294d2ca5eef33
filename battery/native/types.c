// SPDX-License-Identifier: Apache-2.0
/* BTF: types, the maps that they define, and what .BTF.ext says of code. */
#include "parts.h"

#include <stdlib.h>
#include <linux/btf.h>

#define TYPES_MAX 65536
/* How deep types lie in each other. */
#define DEPTH_MAX 32
#define POINTER_BYTES 8
#define KEY_BYTES_MAX 64
#define EXT_HEADER_BYTES 24
#define EXT_CORE_HEADER_BYTES 32
#define FUNC_INFO_BYTES 8
#define LINE_INFO_BYTES 16

struct type {
	const char *name;
	uint32_t kind;
	uint32_t count;
	/* A size, or another type. */
	uint32_t value;
	const uint8_t *rest;
	uint8_t depth;
};

struct types {
	struct object *object;
	const uint8_t *types;
	uint32_t types_size;
	const uint8_t *names;
	uint32_t names_size;
	struct type *all;
	uint32_t n;
	/* What the entries of the maps so far take. */
	uint64_t map_bytes;
};

/* Of a map's definition. */
struct map {
	uint32_t type;
	uint32_t flags;
	uint32_t entries;
	uint64_t key_size;
	uint64_t value_size;
};

static bool damaged(struct types *self, uint32_t id)
{
	return offend(self->object, "damaged: type %u of its BTF is not sound", id);
}

static bool fits(uint32_t first, uint32_t count, uint64_t total)
{
	return first <= total && count <= total - first;
}

static bool read_header(struct types *self, const struct section *section)
{
	struct btf_header header;

	if (section->size < sizeof(header))
		return offend(self->object, "damaged: its BTF is cut");
	memcpy(&header, section->data, sizeof(header));
	if (header.magic != BTF_MAGIC || header.version != BTF_VERSION || header.flags ||
	    header.hdr_len != sizeof(header) || header.type_off || header.type_len % 4 ||
	    header.str_off != header.type_len || !fits(header.type_len, header.str_len, section->size - sizeof(header)) ||
	    sizeof(header) + (uint64_t)header.type_len + header.str_len != section->size || !header.str_len)
		return offend(self->object, "damaged: its BTF has no sound header");
	self->types = section->data + sizeof(header);
	self->types_size = header.type_len;
	self->names = self->types + header.type_len;
	self->names_size = header.str_len;
	if (self->names[0] || self->names[self->names_size - 1])
		return offend(self->object, "damaged: its BTF has names without end");
	return true;
}

/* Bytes behind a type of a kind: fixed ones, and those of each part; false for a kind that no object of ours has. */
static bool rest_of(uint32_t kind, uint32_t *fixed, uint32_t *part)
{
	static const struct {
		uint8_t is_known, fixed, part;
	} rests[] = {
		[BTF_KIND_INT] = {1, 4, 0},	  [BTF_KIND_PTR] = {1, 0, 0},	     [BTF_KIND_ARRAY] = {1, 12, 0},
		[BTF_KIND_STRUCT] = {1, 0, 12},	  [BTF_KIND_UNION] = {1, 0, 12},     [BTF_KIND_ENUM] = {1, 0, 8},
		[BTF_KIND_FWD] = {1, 0, 0},	  [BTF_KIND_TYPEDEF] = {1, 0, 0},    [BTF_KIND_VOLATILE] = {1, 0, 0},
		[BTF_KIND_CONST] = {1, 0, 0},	  [BTF_KIND_RESTRICT] = {1, 0, 0},   [BTF_KIND_FUNC] = {1, 0, 0},
		[BTF_KIND_FUNC_PROTO] = {1, 0, 8}, [BTF_KIND_VAR] = {1, 4, 0},	     [BTF_KIND_DATASEC] = {1, 0, 12},
	};

	if (kind >= sizeof(rests) / sizeof(rests[0]) || !rests[kind].is_known)
		return false;
	*fixed = rests[kind].fixed;
	*part = rests[kind].part;
	return true;
}

/* A function's count is its linkage. */
static bool has_parts(uint32_t kind)
{
	return kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION || kind == BTF_KIND_ENUM ||
	       kind == BTF_KIND_FUNC_PROTO || kind == BTF_KIND_DATASEC;
}

static bool read_type(struct types *self, const uint8_t *at, size_t left, size_t *taken)
{
	struct type *type = &self->all[self->n];
	uint32_t info, fixed, part;

	if (left < sizeof(struct btf_type))
		return damaged(self, self->n);
	info = get32(at + 4);
	*type = (struct type){
		.name = name_at(self->names, self->names_size, get32(at)),
		.kind = info >> 24 & 0x1f,
		.count = info & 0xffff,
		.value = get32(at + 8),
		.rest = at + sizeof(struct btf_type),
	};
	if (!type->name || info & 0x60ff0000 || !rest_of(type->kind, &fixed, &part) ||
	    (type->count && !has_parts(type->kind) && (type->kind != BTF_KIND_FUNC || type->count > BTF_FUNC_EXTERN)))
		return damaged(self, self->n);
	*taken = sizeof(struct btf_type) + fixed + (size_t)part * type->count;
	return *taken <= left ? true : damaged(self, self->n);
}

static bool read_types(struct types *self)
{
	size_t at = 0, taken = 0, most = self->types_size / sizeof(struct btf_type) + 2;

	self->all = calloc(most < TYPES_MAX ? most : TYPES_MAX, sizeof(*self->all));
	if (!self->all)
		return offend(self->object, "could not be checked: out of memory");
	/* Type 0 is void, and stands nowhere. */
	for (self->n = 1; at < self->types_size; self->n++, at += taken)
		if (self->n >= TYPES_MAX || !read_type(self, self->types + at, self->types_size - at, &taken))
			return damaged(self, self->n);
	return true;
}

static bool is_type(const struct types *self, uint32_t id)
{
	return id < self->n && self->all[id].kind != BTF_KIND_DATASEC && self->all[id].kind != BTF_KIND_VAR;
}

static bool is_named(const struct types *self, const uint8_t *at)
{
	return name_at(self->names, self->names_size, get32(at)) != NULL;
}

/* Members, parameters, values and variables: names in the table, types that are there. */
static bool check_parts(struct types *self, const struct type *type)
{
	uint32_t i, fixed = 0, part = 0;
	const uint8_t *at = type->rest;

	rest_of(type->kind, &fixed, &part);
	for (i = 0; i < type->count; i++, at += part) {
		if (type->kind == BTF_KIND_DATASEC) {
			if (get32(at) >= self->n || self->all[get32(at)].kind != BTF_KIND_VAR)
				return false;
			continue;
		}
		if (!is_named(self, at) || (type->kind != BTF_KIND_ENUM && !is_type(self, get32(at + 4))))
			return false;
	}
	return true;
}

static bool check_type(struct types *self, const struct type *type)
{
	switch (type->kind) {
	case BTF_KIND_INT:
	case BTF_KIND_FWD:
		return true;
	case BTF_KIND_ARRAY:
		return is_type(self, get32(type->rest)) && is_type(self, get32(type->rest + 4));
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
	case BTF_KIND_ENUM:
	case BTF_KIND_DATASEC:
		return check_parts(self, type);
	case BTF_KIND_FUNC_PROTO:
		return is_type(self, type->value) && check_parts(self, type);
	case BTF_KIND_FUNC:
		return is_type(self, type->value) && self->all[type->value].kind == BTF_KIND_FUNC_PROTO;
	default:
		return is_type(self, type->value) && (type->kind != BTF_KIND_VAR || *type->name);
	}
}

/* How deep a type lies, pointers left out: more than DEPTH_MAX where it has no end. */
static unsigned depth_of(struct types *self, uint32_t id, unsigned level)
{
	struct type *type = &self->all[id];
	unsigned depth = 0, below;
	uint32_t i;

	if (!id || type->depth || level > DEPTH_MAX)
		return level > DEPTH_MAX ? DEPTH_MAX + 1 : type->depth;
	switch (type->kind) {
	case BTF_KIND_ARRAY:
		depth = depth_of(self, get32(type->rest), level + 1);
		break;
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		for (i = 0; i < type->count && depth <= DEPTH_MAX; i++) {
			below = depth_of(self, get32(type->rest + 12 * i + 4), level + 1);
			depth = below > depth ? below : depth;
		}
		break;
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
		depth = depth_of(self, type->value, level + 1);
	}
	type->depth = (uint8_t)(depth > DEPTH_MAX ? depth : depth + 1);
	return type->depth;
}

static bool check_types(struct types *self)
{
	uint32_t id;

	for (id = 1; id < self->n; id++)
		if (!check_type(self, &self->all[id]))
			return damaged(self, id);
	for (id = 1; id < self->n; id++)
		if (depth_of(self, id, 0) > DEPTH_MAX)
			return damaged(self, id);
	return true;
}

/* A type's size in bytes; UINT32_MAX or more for what has none. It has an end: check_types() saw to that. */
static uint64_t size_of(const struct types *self, uint32_t id)
{
	const struct type *type = &self->all[id];
	uint64_t times = 1, size = UINT32_MAX;

	for (; id && times < UINT32_MAX; type = &self->all[id]) {
		switch (type->kind) {
		case BTF_KIND_INT:
		case BTF_KIND_STRUCT:
		case BTF_KIND_UNION:
		case BTF_KIND_ENUM:
			size = type->value;
			return times * size;
		case BTF_KIND_PTR:
			return times * POINTER_BYTES;
		case BTF_KIND_ARRAY:
			times *= get32(type->rest + 8);
			id = get32(type->rest);
			break;
		case BTF_KIND_TYPEDEF:
		case BTF_KIND_VOLATILE:
		case BTF_KIND_CONST:
		case BTF_KIND_RESTRICT:
			id = type->value;
			break;
		default:
			return size;
		}
	}
	return size;
}

/* A number is spelled as the length of an array that a member points to. */
static bool read_number(const struct types *self, uint32_t id, uint32_t *number)
{
	const struct type *array;

	if (self->all[id].kind != BTF_KIND_PTR)
		return false;
	array = &self->all[self->all[id].value];
	if (array->kind != BTF_KIND_ARRAY)
		return false;
	*number = get32(array->rest + 8);
	return true;
}

static bool read_size(const struct types *self, uint32_t id, uint64_t *size)
{
	if (self->all[id].kind != BTF_KIND_PTR)
		return false;
	*size = size_of(self, self->all[id].value);
	return true;
}

static bool read_map_member(struct types *self, const char *name, const uint8_t *member, struct map *map)
{
	const char *what = name_at(self->names, self->names_size, get32(member));
	uint32_t id = get32(member + 4), size = 0;
	bool is_read;

	if (!strcmp(what, "pinning"))
		return offend(self->object, "map %s is to be pinned, which no map may", name);
	if (!strcmp(what, "type"))
		is_read = read_number(self, id, &map->type);
	else if (!strcmp(what, "map_flags"))
		is_read = read_number(self, id, &map->flags);
	else if (!strcmp(what, "max_entries"))
		is_read = read_number(self, id, &map->entries);
	else if (!strcmp(what, "key"))
		is_read = read_size(self, id, &map->key_size);
	else if (!strcmp(what, "value"))
		is_read = read_size(self, id, &map->value_size);
	else if (!strcmp(what, "key_size") && (is_read = read_number(self, id, &size)))
		map->key_size = size;
	else if (!strcmp(what, "value_size") && (is_read = read_number(self, id, &size)))
		map->value_size = size;
	else
		return offend(self->object, "map %s has a member %s, which no map may", name, what);
	return is_read ? true : offend(self->object, "damaged: map %s has a member %s that is not sound", name, what);
}

static bool check_map(struct types *self, const char *name, const struct map *map)
{
	struct object *object = self->object;
	uint64_t entry = map->key_size + map->value_size;
	size_t i;

	for (i = 0; i < sizeof(allowed_maps) / sizeof(allowed_maps[0]); i++)
		if (allowed_maps[i] == map->type)
			break;
	if (i == sizeof(allowed_maps) / sizeof(allowed_maps[0]))
		return offend(object, "map %s has type %u, which is not allowed", name, map->type);
	if (map->flags & ~(uint32_t)ALLOWED_MAP_FLAGS)
		return offend(object, "map %s has the flags %#x, which no map may", name, map->flags);
	if (map->key_size > KEY_BYTES_MAX || map->value_size > MAP_BYTES_MAX)
		return offend(object, "map %s has entries that are too large", name);
	self->map_bytes += (entry ? entry : 1) * map->entries;
	if (self->map_bytes > MAP_BYTES_MAX)
		return offend(object, "with map %s, maps take more than %u MiB", name, MAP_BYTES_MAX >> 20);
	return true;
}

/* Tell what is wrong with a map; false only for damage. */
static bool check_definition(struct types *self, uint32_t variable)
{
	const struct type *of = &self->all[variable], *definition = &self->all[of->value];
	struct object *object = self->object;
	unsigned before = object->offences;
	struct map map = {0};
	uint32_t i;

	if (definition->kind != BTF_KIND_STRUCT)
		return offend(object, "damaged: map %s has no definition", of->name);
	for (i = 0; i < definition->count; i++)
		read_map_member(self, of->name, definition->rest + 12 * i, &map);
	if (object->offences == before)
		check_map(self, of->name, &map);
	return true;
}

static bool check_maps(struct types *self)
{
	const struct type *type, *found = NULL;
	uint32_t id, i;

	for (id = 1; id < self->n; id++) {
		type = &self->all[id];
		if (type->kind != BTF_KIND_DATASEC || strcmp(type->name, ".maps"))
			continue;
		if (found)
			return damaged(self, id);
		found = type;
		for (i = 0; i < type->count; i++)
			if (!check_definition(self, get32(type->rest + 12 * i)))
				return false;
	}
	return true;
}

/* The code that records of .BTF.ext describe; NULL where a name is not that of a section of code. */
static const struct section *code_of(const struct object *object, const char *name)
{
	uint32_t i;

	for (i = 1; name && i < object->n_sections; i++)
		if (is_code(&object->sections[i]) && !strcmp(object->sections[i].name, name))
			return &object->sections[i];
	return NULL;
}

static bool check_records(const struct types *self, const struct section *code, const uint8_t *at, uint32_t count,
			  uint32_t record)
{
	uint32_t i, before = 0;

	for (i = 0; i < count; i++, at += record) {
		if (get32(at) % INSN_BYTES || get32(at) >= code->size || (i && get32(at) <= before))
			return false;
		before = get32(at);
		if (record == FUNC_INFO_BYTES ?
			    get32(at + 4) >= self->n || self->all[get32(at + 4)].kind != BTF_KIND_FUNC :
			    get32(at + 4) >= self->names_size || get32(at + 8) >= self->names_size)
			return false;
	}
	return true;
}

/* One table: how long a record is, then for each section its name, a count and so many records. */
static bool check_table(struct types *self, const uint8_t *at, uint64_t left, uint32_t record)
{
	const struct section *code;
	uint32_t count;

	if (!left)
		return true;
	if (left < 4 || get32(at) != record)
		return false;
	for (at += 4, left -= 4; left; at += 8 + (uint64_t)count * record, left -= 8 + (uint64_t)count * record) {
		if (left < 8)
			return false;
		count = get32(at + 4);
		code = code_of(self->object, name_at(self->names, self->names_size, get32(at)));
		if (!code || !count || (left - 8) / record < count || !check_records(self, code, at + 8, count, record))
			return false;
	}
	return true;
}

static bool check_ext(struct types *self, const struct section *section)
{
	const uint8_t *data = section->data;
	uint64_t length, left;

	if (section->size < EXT_HEADER_BYTES || get16(data) != BTF_MAGIC || data[2] != BTF_VERSION || data[3])
		return false;
	length = get32(data + 4);
	if ((length != EXT_HEADER_BYTES && length != EXT_CORE_HEADER_BYTES) || length > section->size)
		return false;
	left = section->size - length;
	if (!fits(get32(data + 8), get32(data + 12), left) || !fits(get32(data + 16), get32(data + 20), left) ||
	    get32(data + 8) % 4 || get32(data + 16) % 4)
		return false;
	/* Offsets of the kernel's types, which no program asks for. */
	if (length == EXT_CORE_HEADER_BYTES && get32(data + 28))
		return false;
	data += length;
	return check_table(self, data + get32(section->data + 8), get32(section->data + 12), FUNC_INFO_BYTES) &&
	       check_table(self, data + get32(section->data + 16), get32(section->data + 20), LINE_INFO_BYTES);
}

bool check_btf(struct object *object, const struct section *section, const struct section *ext)
{
	struct types self = {.object = object};
	bool is_sound = read_header(&self, section) && read_types(&self) && check_types(&self) && check_maps(&self);

	if (is_sound && ext && !check_ext(&self, ext))
		is_sound = offend(object, "damaged: its BTF.ext is not sound");
	free(self.all);
	return is_sound;
}
