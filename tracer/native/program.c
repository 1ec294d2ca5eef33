// SPDX-License-Identifier: Apache-2.0
/* The program by which lines are made: every index in it is checked here, once. */
#include "lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define N_IDS (UINT16_MAX + 1)

static bool fits(uint32_t first, uint32_t count, uint32_t total)
{
	return first <= total && count <= total - first;
}

static bool text_fits(const struct program *self, struct text text)
{
	return fits(text.at, text.length, self->head.text_bytes);
}

static bool names_fit(const struct program *self, uint32_t first, uint32_t count)
{
	const struct entry_row *entry = self->entries + first, *end = entry + count;

	if (!fits(first, count, self->head.n_entries))
		return false;
	for (; entry < end; entry++)
		if (!fits(entry->at, entry->length, self->head.text_bytes))
			return false;
	return true;
}

/* Nodes lead to ones before them, which are less deep: rendering ends, and needs little stack. */
static bool leads_to(const struct program *self, const struct node *node, uint32_t index)
{
	return index < (size_t)(node - self->nodes) && self->nodes[index].depth < node->depth;
}

static bool members_fit(const struct program *self, const struct node *node)
{
	const struct member_row *member = self->members + node->first, *end = member + node->count;

	if (!fits(node->first, node->count, self->head.n_members))
		return false;
	for (; member < end; member++)
		if (!text_fits(self, member->key) || !leads_to(self, node, member->node))
			return false;
	return true;
}

static bool cases_fit(const struct program *self, const struct node *node)
{
	const struct entry_row *entry = self->entries + node->first, *end = entry + node->count;

	if (!fits(node->first, node->count, self->head.n_entries))
		return false;
	for (; entry < end; entry++)
		if (!leads_to(self, node, entry->at))
			return false;
	return leads_to(self, node, node->other);
}

static bool is_width(uint32_t bytes)
{
	return bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
}

static bool node_fits(const struct program *self, const struct node *node)
{
	if (!is_width(node->width) || !is_width(node->keep) || node->depth > PROGRAM_DEPTH_MAX)
		return false;
	switch (node->kind) {
	case NODE_NAMED:
	case NODE_SET:
		return node->first < self->head.n_sets;
	case NODE_CASES:
		return cases_fit(self, node);
	case NODE_STRUCT:
		return members_fit(self, node);
	case NODE_ARRAY:
	case NODE_BYTES:
		return node->size && node->first <= node->size && leads_to(self, node, node->other);
	case NODE_VALUE:
		return is_width(node->size) && leads_to(self, node, node->other);
	case NODE_BIT_NAMES:
		return names_fit(self, node->first, node->count);
	}
	return node->kind < N_NODE_KINDS;
}

static bool set_fits(const struct program *self, const struct set_row *set)
{
	return names_fit(self, set->first_value, set->n_values) && names_fit(self, set->first_bit, set->n_bits) &&
	       text_fits(self, set->zero);
}

static bool slot_fits(const struct event_row *event, uint32_t offset)
{
	uint32_t start = (uint32_t)sizeof(struct header) + 8 * event->n_registers;

	return !offset || (offset >= start && offset % sizeof(struct slot) == 0 &&
			   (offset - start) / sizeof(struct slot) < event->n_slots);
}

static bool event_fits(const struct program *self, const struct event_row *event)
{
	const struct arg_row *arg = self->args + event->first_arg, *end = arg + event->n_args;
	uint64_t least = sizeof(struct header) + 8 * ((uint64_t)event->n_registers + event->n_slots);

	if (event->id >= N_IDS || least > event->fixed_size || event->fixed_size > UINT16_MAX ||
	    event->n_args > PROGRAM_ARGS_MAX || !fits(event->first_arg, event->n_args, self->head.n_args) ||
	    !text_fits(self, event->name))
		return false;
	for (; arg < end; arg++)
		if (!text_fits(self, arg->key) || !text_fits(self, arg->name) || arg->node >= self->head.n_nodes ||
		    arg->index >= event->n_registers || !slot_fits(event, arg->slot) ||
		    !slot_fits(event, arg->slot_out) || arg->by_case > self->head.n_nodes ||
		    (arg->by_case && self->nodes[arg->by_case - 1].kind != NODE_CASES) ||
		    !fits(arg->first_error, arg->n_errors, self->head.n_entries))
			return false;
	return true;
}

static bool all_fits(const struct program *self)
{
	const struct program_head *head = &self->head;
	uint32_t i;

	for (i = 0; i < head->n_nodes; i++)
		if (!node_fits(self, &self->nodes[i]))
			return false;
	for (i = 0; i < head->n_sets; i++)
		if (!set_fits(self, &self->sets[i]))
			return false;
	for (i = 0; i < head->n_events; i++)
		if (!event_fits(self, &self->events[i]))
			return false;
	return names_fit(self, head->first_error, head->n_errors);
}

/* Where a table lies, and then where the next does. */
static const void *take_table(const char **at, uint64_t count, size_t row)
{
	const char *table = *at;

	*at += count * row;
	return table;
}

static bool lay_out(struct program *self, size_t size)
{
	const struct program_head *head = &self->head;
	const char *at = self->copy + sizeof(*head);
	uint64_t need = sizeof(*head) + (uint64_t)head->n_events * sizeof(*self->events) +
			(uint64_t)head->n_args * sizeof(*self->args) + (uint64_t)head->n_nodes * sizeof(*self->nodes) +
			(uint64_t)head->n_members * sizeof(*self->members) +
			(uint64_t)head->n_sets * sizeof(*self->sets) +
			(uint64_t)head->n_entries * sizeof(*self->entries) + head->text_bytes;

	if (need != size)
		return false;
	self->events = take_table(&at, head->n_events, sizeof(*self->events));
	self->args = take_table(&at, head->n_args, sizeof(*self->args));
	self->nodes = take_table(&at, head->n_nodes, sizeof(*self->nodes));
	self->members = take_table(&at, head->n_members, sizeof(*self->members));
	self->sets = take_table(&at, head->n_sets, sizeof(*self->sets));
	self->entries = take_table(&at, head->n_entries, sizeof(*self->entries));
	self->text = at;
	return true;
}

int program_open(struct program *self, const void *data, size_t size)
{
	uint32_t i;

	*self = (struct program){0};
	if (size < sizeof(self->head))
		return -EINVAL;
	self->copy = malloc(size);
	self->event_of = calloc(N_IDS, sizeof(*self->event_of));
	if (!self->copy || !self->event_of) {
		program_close(self);
		return -ENOMEM;
	}
	memcpy(self->copy, data, size);
	memcpy(&self->head, data, sizeof(self->head));
	if (!lay_out(self, size) || !all_fits(self)) {
		program_close(self);
		return -EINVAL;
	}
	for (i = 0; i < self->head.n_events; i++)
		self->event_of[self->events[i].id] = i + 1;
	return 0;
}

void program_close(struct program *self)
{
	free(self->copy);
	free(self->event_of);
	*self = (struct program){0};
}
