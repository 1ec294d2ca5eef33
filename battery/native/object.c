// SPDX-License-Identifier: Apache-2.0
/* ELF, as far as libbpf reads it. */
#include "parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define OFFENCES_MAX 64
#define LINE_BYTES 512
#define LICENSE_BYTES_MAX 64
#define LAYOUT_BYTES_MAX 200
#define SHT_LLVM_ADDRSIG 0x6fff4c03
/* R_BPF_64_64 and R_BPF_64_32. */
#define OF_LOAD 1
#define OF_CALL 10

int object_role(const char *name)
{
	if (!strcmp(name, "core"))
		return ROLE_CORE;
	return strcmp(name, "handler") ? -1 : ROLE_HANDLER;
}

bool offend(struct object *object, const char *format, ...)
{
	char line[LINE_BYTES];
	va_list args;

	if (object->offences++ >= OFFENCES_MAX)
		return false;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	object->tell(object->to, line);
	return false;
}

const char *name_at(const uint8_t *names, uint64_t size, uint64_t at)
{
	uint64_t end = at;

	while (end < size && end - at <= NAME_MAX_BYTES && names[end] >= ' ' && names[end] <= '~')
		end++;
	return end < size && end - at <= NAME_MAX_BYTES && !names[end] ? (const char *)names + at : NULL;
}

Elf64_Sym symbol_of(const struct object *object, uint32_t number)
{
	Elf64_Sym symbol;

	memcpy(&symbol, object->symbols->data + (size_t)number * sizeof(symbol), sizeof(symbol));
	return symbol;
}

static bool starts_with(const char *text, const char *start)
{
	return !strncmp(text, start, strlen(start));
}

/* The header, and that the table of sections lies within the object. */
static bool check_header(struct object *object, Elf64_Ehdr *header)
{
	static const uint8_t ident[EI_NIDENT] = {ELFMAG0,    ELFMAG1,	  ELFMAG2,   ELFMAG3,
						 ELFCLASS64, ELFDATA2LSB, EV_CURRENT};

	if (object->size < sizeof(*header) || object->size > OBJECT_BYTES_MAX)
		return offend(object, "damaged: %zu bytes are not an object", object->size);
	memcpy(header, object->data, sizeof(*header));
	if (memcmp(header->e_ident, ident, sizeof(ident)) || header->e_type != ET_REL || header->e_machine != EM_BPF ||
	    header->e_version != EV_CURRENT || header->e_ehsize != sizeof(*header) || header->e_phnum)
		return offend(object, "damaged: not an eBPF object of this machine's byte order");
	if (header->e_shentsize != sizeof(Elf64_Shdr) || !header->e_shnum || header->e_shnum > SECTIONS_MAX ||
	    header->e_shstrndx >= header->e_shnum || header->e_shoff % 8 || header->e_shoff > object->size ||
	    (object->size - header->e_shoff) / sizeof(Elf64_Shdr) < header->e_shnum)
		return offend(object, "damaged: its table of sections lies outside it");
	return true;
}

/* Sections that libbpf skips by their names. */
static bool is_unread(const char *name, uint32_t type)
{
	return (type == SHT_PROGBITS && starts_with(name, ".debug_")) ||
	       (type == SHT_LLVM_ADDRSIG && !strcmp(name, ".llvm_addrsig"));
}

static bool find_kind(struct section *section, const Elf64_Shdr *head)
{
	size_t i;

	if (head->sh_type == SHT_REL && !(head->sh_flags & ~(uint64_t)SHF_INFO_LINK)) {
		section->kind = SECTION_RELOCATIONS;
		return starts_with(section->name, ".rel");
	}
	if (is_unread(section->name, head->sh_type)) {
		section->kind = SECTION_UNREAD;
		return !(head->sh_flags & ~(uint64_t)(SHF_MERGE | SHF_STRINGS | SHF_EXCLUDE));
	}
	for (i = 0; i < sizeof(allowed_sections) / sizeof(allowed_sections[0]); i++)
		if (!strcmp(section->name, allowed_sections[i].name)) {
			section->kind = allowed_sections[i].kind;
			return head->sh_type == allowed_sections[i].type && head->sh_flags == allowed_sections[i].flags;
		}
	return false;
}

/* Where a section begins, and how long its entries are. */
static bool check_shape(const struct section *section, const Elf64_Shdr *head)
{
	switch (section->kind) {
	case SECTION_SYMBOLS:
		return head->sh_offset % 8 == 0 && head->sh_entsize == sizeof(Elf64_Sym);
	case SECTION_RELOCATIONS:
		return head->sh_offset % 8 == 0 && head->sh_entsize == sizeof(Elf64_Rel);
	case SECTION_FUNCTIONS:
	case SECTION_PROGRAMS:
		return head->sh_offset % 8 == 0;
	case SECTION_BTF:
	case SECTION_BTF_EXT:
		return head->sh_offset % 4 == 0;
	default:
		return true;
	}
}

static bool read_section(struct object *object, uint32_t at, const Elf64_Shdr *head, const struct section *names)
{
	struct section *section = &object->sections[at];
	uint32_t i;

	section->name = name_at(names->data, names->size, head->sh_name);
	if (!section->name)
		return offend(object, "damaged: section %u has no name", at);
	if (!find_kind(section, head))
		return offend(object, "section %s is not of a kind that may be loaded", section->name);
	if (head->sh_offset > object->size || head->sh_size > object->size - head->sh_offset)
		return offend(object, "damaged: section %s lies outside it", section->name);
	if (head->sh_link >= object->n_sections || !check_shape(section, head))
		return offend(object, "damaged: section %s has no sound place", section->name);
	for (i = 1; i < at; i++)
		if (!strcmp(section->name, object->sections[i].name))
			return offend(object, "damaged: two sections are called %s", section->name);
	section->data = object->data + head->sh_offset;
	section->size = head->sh_size;
	section->link = head->sh_link;
	section->info = head->sh_info;
	return true;
}

/* Names of sections and symbols share one table, as the compiler writes it. */
static bool read_names(struct object *object, const Elf64_Shdr *head, struct section *names)
{
	if (head->sh_type != SHT_STRTAB || !head->sh_size || head->sh_offset > object->size ||
	    head->sh_size > object->size - head->sh_offset)
		return offend(object, "damaged: its table of names lies outside it");
	names->data = object->data + head->sh_offset;
	names->size = head->sh_size;
	if (names->data[0] || names->data[names->size - 1])
		return offend(object, "damaged: its table of names has no end");
	return true;
}

static bool read_sections(struct object *object, const Elf64_Ehdr *header)
{
	const uint8_t *heads = object->data + header->e_shoff;
	struct section names = {0};
	uint64_t total = 0;
	Elf64_Shdr head;
	uint32_t i;

	memcpy(&head, heads + header->e_shstrndx * sizeof(head), sizeof(head));
	if (!read_names(object, &head, &names))
		return false;
	memcpy(&head, heads, sizeof(head));
	if (head.sh_type != SHT_NULL || head.sh_size)
		return offend(object, "damaged: its first section is not empty");
	for (i = 1; i < object->n_sections; i++) {
		memcpy(&head, heads + i * sizeof(head), sizeof(head));
		if (!read_section(object, i, &head, &names))
			return false;
		/* Sections that overlap would be copied as often as there are such. */
		total += head.sh_size;
		if (total > object->size)
			return offend(object, "damaged: its sections overlap");
		if (object->sections[i].kind == SECTION_NAMES)
			object->names = &object->sections[i];
		else if (object->sections[i].kind == SECTION_SYMBOLS)
			object->symbols = &object->sections[i];
	}
	if (!object->names || object->names->data != names.data || !object->symbols ||
	    &object->sections[object->symbols->link] != object->names)
		return offend(object, "damaged: it has no table of symbols");
	return true;
}

static bool add_function(struct object *object, const Elf64_Sym *symbol, const char *name)
{
	struct function *function = &object->functions[object->n_functions];
	const struct section *section = &object->sections[symbol->st_shndx];

	if (object->n_functions == FUNCTIONS_MAX)
		return offend(object, "damaged: it has more than %d functions", FUNCTIONS_MAX);
	if (!is_code(section) || !*name || !symbol->st_size || symbol->st_value % INSN_BYTES ||
	    symbol->st_size % INSN_BYTES)
		return offend(object, "damaged: a function lies outside its section");
	object->n_functions++;
	*function = (struct function){
		.name = name,
		.section = symbol->st_shndx,
		.start = (uint32_t)(symbol->st_value / INSN_BYTES),
		.count = (uint32_t)(symbol->st_size / INSN_BYTES),
	};
	return true;
}

static bool read_symbol(struct object *object, uint32_t number)
{
	Elf64_Sym symbol = symbol_of(object, number);
	const char *name = name_at(object->names->data, object->names->size, symbol.st_name);
	unsigned type = ELF64_ST_TYPE(symbol.st_info);
	const struct section *section;

	if (!name)
		return offend(object, "damaged: symbol %u has no name", number);
	if (type == STT_FILE && symbol.st_shndx == SHN_ABS)
		return true;
	if (symbol.st_shndx == SHN_UNDEF)
		return offend(object, "the symbol %s is the kernel's, which no program may use", name);
	if (symbol.st_shndx >= object->n_sections || type > STT_SECTION || ELF64_ST_BIND(symbol.st_info) > STB_WEAK)
		return offend(object, "damaged: the symbol %s lies nowhere", name);
	section = &object->sections[symbol.st_shndx];
	if (symbol.st_value > section->size || symbol.st_size > section->size - symbol.st_value)
		return offend(object, "damaged: the symbol %s lies outside its section", name);
	return type != STT_FUNC || add_function(object, &symbol, name);
}

/* Functions in order of place, each beginning where the one before ends. */
static bool order_functions(struct object *object)
{
	struct function *functions = object->functions, moved;
	uint32_t i, at, end = 0;

	for (i = 1; i < object->n_functions; i++) {
		moved = functions[i];
		for (at = i; at && (functions[at - 1].section > moved.section ||
				    (functions[at - 1].section == moved.section &&
				     functions[at - 1].start > moved.start));
		     at--)
			functions[at] = functions[at - 1];
		functions[at] = moved;
	}
	for (i = 0; i < object->n_functions; i++) {
		end = i && functions[i - 1].section == functions[i].section ? end : 0;
		if (functions[i].start != end)
			return offend(object, "damaged: functions overlap at %s", functions[i].name);
		end += functions[i].count;
		if ((i + 1 == object->n_functions || functions[i + 1].section != functions[i].section) &&
		    end != object->sections[functions[i].section].size / INSN_BYTES)
			return offend(object, "damaged: code lies behind %s", functions[i].name);
	}
	return true;
}

static bool read_symbols(struct object *object)
{
	uint64_t count = object->symbols->size / sizeof(Elf64_Sym);
	uint32_t i;

	if (object->symbols->size % sizeof(Elf64_Sym) || !count || count > SYMBOLS_MAX)
		return offend(object, "damaged: its table of symbols has no sound size");
	for (i = 1; i < count; i++)
		if (!read_symbol(object, i))
			return false;
	return order_functions(object);
}

/* The section whose relocations these are; NULL where their name and number disagree. */
static struct section *target_of(struct object *object, const struct section *table)
{
	struct section *target;

	if (!table->info || table->info >= object->n_sections || table->size % sizeof(Elf64_Rel))
		return NULL;
	target = &object->sections[table->info];
	return strcmp(table->name + strlen(".rel"), target->name) ? NULL : target;
}

static bool relocate(struct object *object, struct section *target, const Elf64_Rel *relocation)
{
	uint64_t symbol = ELF64_R_SYM(relocation->r_info), at = relocation->r_offset / INSN_BYTES;
	uint32_t type = ELF64_R_TYPE(relocation->r_info);

	if (relocation->r_offset % INSN_BYTES || relocation->r_offset >= target->size || !symbol ||
	    symbol >= object->symbols->size / sizeof(Elf64_Sym) || (type != OF_LOAD && type != OF_CALL) ||
	    target->notes[at])
		return offend(object, "damaged: a relocation of section %s leads nowhere", target->name);
	target->notes[at] = (type == OF_LOAD ? NOTE_MAP : NOTE_CALL) | (uint32_t)symbol;
	return true;
}

static bool read_relocations(struct object *object, const struct section *table)
{
	struct section *target = target_of(object, table);
	Elf64_Rel relocation;
	uint64_t at;

	if (!target || &object->sections[table->link] != object->symbols)
		return offend(object, "damaged: section %s belongs to no section", table->name);
	if (target->kind == SECTION_MAPS)
		return offend(object, "a map holds addresses, which no map may");
	if (!is_code(target))
		return true;
	for (at = 0; at < table->size; at += sizeof(relocation)) {
		memcpy(&relocation, table->data + at, sizeof(relocation));
		if (!relocate(object, target, &relocation))
			return false;
	}
	return true;
}

/* Make room for what is noted of code. */
static bool open_code(struct object *object)
{
	uint32_t i, *notes = object->notes = calloc(object->size / INSN_BYTES + 1, sizeof(*notes));
	struct section *section;

	if (!notes)
		return offend(object, "could not be checked: out of memory");
	for (i = 1; i < object->n_sections; i++) {
		section = &object->sections[i];
		if (!is_code(section))
			continue;
		if (section->size % INSN_BYTES)
			return offend(object, "damaged: section %s holds half an instruction", section->name);
		section->notes = notes;
		notes += section->size / INSN_BYTES;
	}
	return true;
}

static bool check_license(struct object *object, const struct section *section)
{
	if (section->size && section->size <= LICENSE_BYTES_MAX && name_at(section->data, section->size, 0))
		return true;
	return offend(object, "damaged: it has no sound license");
}

static bool check_layout(struct object *object, const struct section *section)
{
	uint64_t i;

	for (i = 0; i < section->size; i++)
		if (section->size > LAYOUT_BYTES_MAX || section->data[i] > '~')
			return offend(object, "damaged: it has no sound digest of its layout");
	return true;
}

static bool check_section(struct object *object, const struct section *section)
{
	switch (section->kind) {
	case SECTION_RELOCATIONS:
		return read_relocations(object, section);
	case SECTION_LICENSE:
		return check_license(object, section);
	case SECTION_LAYOUT:
		return check_layout(object, section);
	default:
		return true;
	}
}

static bool check_sections(struct object *object)
{
	const struct section *btf = NULL, *ext = NULL;
	uint32_t i;

	if (!open_code(object))
		return false;
	for (i = 1; i < object->n_sections; i++) {
		if (object->sections[i].kind == SECTION_BTF)
			btf = &object->sections[i];
		if (object->sections[i].kind == SECTION_BTF_EXT)
			ext = &object->sections[i];
	}
	for (i = 1; i < object->n_sections; i++)
		if (!check_section(object, &object->sections[i]))
			return false;
	return btf ? check_btf(object, btf, ext) : offend(object, "damaged: it has no BTF, which its maps need");
}

static bool check_all(struct object *object)
{
	Elf64_Ehdr header;

	if (!check_header(object, &header))
		return false;
	object->n_sections = header.e_shnum;
	object->sections = calloc(object->n_sections, sizeof(*object->sections));
	if (!object->sections)
		return offend(object, "could not be checked: out of memory");
	return read_sections(object, &header) && read_symbols(object) && check_sections(object) && check_code(object);
}

bool object_check(const void *data, size_t size, enum object_role role, object_tell tell, void *to)
{
	struct object object = {.data = data, .size = size, .role = role, .tell = tell, .to = to};
	bool is_sound = check_all(&object);

	free(object.sections);
	free(object.notes);
	return is_sound && !object.offences;
}
