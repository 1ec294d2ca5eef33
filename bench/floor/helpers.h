/* SPDX-License-Identifier: GPL-2.0 */
#ifndef HELPERS_H
#define HELPERS_H

/* How often each program makes its call. */
#define CALLS 10

#endif
