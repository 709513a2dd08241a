/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers as they lie in frames: big-endian, and at any address.
 */
#ifndef VB_BYTES_H
#define VB_BYTES_H

#include <stdint.h>

static inline uint16_t vb_load16(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

static inline void vb_store16(uint8_t *p, uint16_t value)
{
	p[0] = value >> 8;
	p[1] = value;
}

static inline uint32_t vb_load32(const uint8_t *p)
{
	return (uint32_t)vb_load16(p) << 16 | vb_load16(p + 2);
}

static inline void vb_store32(uint8_t *p, uint32_t value)
{
	vb_store16(p, value >> 16);
	vb_store16(p + 2, value);
}

#endif
