/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACELEFT_SETTLE_H
#define TRACELEFT_SETTLE_H

#include "record.h"

/*
 * Make an ordinary record of an unsettled one, in place: texts measured,
 * vectors packed. False where it is not sound. The record's length is at most
 * its room's, its n_slots slots lie within it.
 */
bool settle_record(struct header *header, uint32_t slots_at, uint32_t n_slots);

#endif
