/* SPDX-License-Identifier: MIT
 *
 * The histogram of gaps.
 */
#include "governor/gaps.h"

#include <math.h>

#define ONE  16          /* weight of a gap: it can be halved a few times before it is forgotten */
#define FULL (128 * ONE) /* then all are halved */

uint64_t niwa_gaps_edge_us(unsigned n)
{
	uint64_t whole = NIWA_GAPS_LEAST << n / 2;

	return n % 2 ? whole + (uint64_t)((double)whole * 0.41421356237) : whole;
}

unsigned niwa_gaps_bucket(uint64_t gap_us)
{
	unsigned n = 0;

	while (n + 1 < NIWA_GAPS_BUCKETS && gap_us >= niwa_gaps_edge_us(n + 1))
		n++;
	return n;
}

static unsigned total(const struct niwa_gaps *gaps)
{
	unsigned sum = 0;

	for (unsigned n = 0; n < NIWA_GAPS_BUCKETS; n++)
		sum += gaps->weight[n];
	return sum;
}

void niwa_gaps_add(struct niwa_gaps *gaps, uint64_t gap_us)
{
	uint16_t *weight = &gaps->weight[niwa_gaps_bucket(gap_us)];

	if (gap_us < NIWA_GAPS_LEAST)
		return;
	*weight = (uint16_t)(*weight + ONE);
	if (total(gaps) < FULL)
		return;
	for (unsigned n = 0; n < NIWA_GAPS_BUCKETS; n++)
		gaps->weight[n] /= 2;
}

bool niwa_gaps_are_sound(const struct niwa_gaps *gaps)
{
	return total(gaps) < FULL;
}

unsigned niwa_gaps_count(const struct niwa_gaps *gaps)
{
	return (total(gaps) + ONE - 1) / ONE;
}

double niwa_gaps_longer(const struct niwa_gaps *gaps, uint64_t than_us)
{
	unsigned at = niwa_gaps_bucket(than_us);
	uint64_t begin = niwa_gaps_edge_us(at), end = niwa_gaps_edge_us(at + 1);
	double longer = 0, all = (double)total(gaps) / ONE;

	if (than_us < NIWA_GAPS_LEAST)
		return 1;
	for (unsigned n = at + 1; n < NIWA_GAPS_BUCKETS; n++)
		longer += gaps->weight[n];
	if (than_us < end)
		longer += gaps->weight[at] * ((double)(end - than_us) / (double)(end - begin));
	return (longer / ONE + sqrt(sqrt((double)NIWA_GAPS_LEAST / (double)than_us))) / (all + 1);
}
