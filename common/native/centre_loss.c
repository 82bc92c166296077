/* The loss of maps of centres and edges, and its gradient; the equations are those of `common/scenes/centre_loss.py`.

   A bump is computed only where it differs from 0 in float: beyond REACH deviations, 1 - bump is 1. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REACH 6.5f
#define EDGES 4
#define TINY 1e-6f /* least union, hull, and sum of weights */

typedef struct {
  float deviation, least_deviation; /* share of a side; cells */
  float least_weight;               /* of a bump */
  float edges_share;                /* beside 1 for the centres */
  float difficult;                  /* the class of a product that is hardly seen */
} Constants;

static inline float least(float a, float b) { return a < b ? a : b; }
static inline float most(float a, float b) { return a > b ? a : b; }

/* Write the profile of a bump along one axis; return its first cell, and its end to `stop`. */
static int profile(float middle, float side, int length, const Constants *k, float *values, int *stop) {
  float deviation = most(k->deviation * side, k->least_deviation);
  float cell = least(most(floorf(middle), 0), length - 1);
  int first = (int)most(cell - ceilf(REACH * deviation), 0);
  *stop = (int)least(cell + ceilf(REACH * deviation) + 1, length);
  for (int i = first; i < *stop; i++) {
    float distance = (i - cell) / deviation;
    values[i] = expf(-0.5f * (distance * distance));
  }
  return first;
}

/* The penalty-reduced focal loss of one cell with focus 2 and penalty 4; its derivative to `slope`. */
static inline float focal(float logit, float heat, float *slope) {
  float e = expf(-fabsf(logit)), soft = log1pf(e);
  float p = (logit < 0 ? e : 1) / (1 + e), q = (logit < 0 ? 1 : e) / (1 + e);
  if (heat == 1) {
    float present = (logit < 0 ? logit : 0) - soft; /* log p */
    *slope = 2 * p * q * q * present - q * q * q;
    return -q * q * present;
  }
  float absent = (logit < 0 ? 0 : -logit) - soft; /* log(1 - p) */
  float rest = (1 - heat) * (1 - heat);
  *slope = -rest * rest * (2 * p * p * q * absent - p * p * p);
  return -rest * rest * p * p * absent;
}

/* 1 - GIoU of the box with these logarithms of distances (stride `step`) and the true one; its derivatives to
   `slopes`, which are d / d logarithm. true: distances of the true box to the left, top, right, bottom. */
static float missed(const float *logs, long step, const float *true, float *slopes) {
  float d[EDGES];
  for (int i = 0; i < EDGES; i++) d[i] = expf(least(most(logs[i * step], -10), 10));
  float wide = least(d[0], true[0]) + least(d[2], true[2]), high = least(d[1], true[1]) + least(d[3], true[3]);
  float shared = most(wide, 0) * most(high, 0);
  float plain = (d[0] + d[2]) * (d[1] + d[3]) + (true[0] + true[2]) * (true[1] + true[3]) - shared;
  float hull_wide = most(d[0], true[0]) + most(d[2], true[2]), hull_high = most(d[1], true[1]) + most(d[3], true[3]);
  float whole = hull_wide * hull_high, both = most(plain, TINY), hull = most(whole, TINY);
  float by_both = (plain > TINY ? -shared / (both * both) : 0) + 1 / hull;
  float by_hull = whole > TINY ? -plain / (hull * hull) : -1 / hull;
  float by_shared = 1 / both - by_both;
  float across[2] = {d[1] + d[3], d[0] + d[2]};
  float shared_across[2] = {wide > 0 ? most(high, 0) : 0, high > 0 ? most(wide, 0) : 0};
  float hull_across[2] = {hull_high, hull_wide};
  for (int i = 0; i < EDGES; i++) {
    float slope = by_both * across[i % 2];
    slope += d[i] < true[i] ? by_shared * shared_across[i % 2] : by_hull * hull_across[i % 2];
    slopes[i] = fabsf(logs[i * step]) > 10 ? 0 : -slope * d[i];
  }
  return 1 - shared / both + (whole - plain) / hull;
}

static float photo(const float *map, long channel, long cell, const float *boxes, int count, int classes, int height,
                   int width, float stride, const Constants *k, float *scratch, float *gradient) {
  long cells = (long)height * width;
  float *heat = scratch, *highest = heat + classes * cells, *difficult = highest + cells;
  float *x = difficult + cells, *y = x + width, *sums = y + height;
  int *nearest = (int *)(sums + count);
  int found = 0;
  memset(heat, 0, sizeof(float) * (classes + 2) * cells);
  memset(sums, 0, sizeof(float) * count);
  for (int b = 0; b < count; b++) {
    const float *box = boxes + 5 * b;
    float left = box[0] / stride, top = box[1] / stride, right = box[2] / stride, bottom = box[3] / stride;
    if (!(right > left && bottom > top && (right - left) * (bottom - top) > 0)) continue;
    int first, last, above, below, is_difficult = box[4] == k->difficult, label = box[4] > 0 ? (int)box[4] : 0;
    first = profile((left + right) / 2, right - left, width, k, x, &last);
    above = profile((top + bottom) / 2, bottom - top, height, k, y, &below);
    float *of_class = is_difficult ? difficult : heat + (label < classes ? label : classes - 1) * cells;
    for (int i = above; i < below; i++)
      for (int j = first; j < last; j++) {
        long at = (long)i * width + j;
        float bump = y[i] * x[j];
        of_class[at] = most(of_class[at], bump);
        if (!is_difficult && bump > highest[at]) highest[at] = bump, nearest[at] = b;
      }
    found += !is_difficult;
  }
  float scale = 1 / most(found, 1);
  for (long at = 0; at < cells; at++)
    if (highest[at] >= k->least_weight) sums[nearest[at]] += highest[at];
  double total = 0;
  for (long at = 0; at < cells; at++) {
    const float *here = map + at * cell;
    float *out = gradient + at * cell;
    float loss = 0;
    int is_asked = difficult[at] < k->least_weight || difficult[at] <= highest[at];
    for (int c = 0; c < classes; c++) {
      float slope, own = focal(here[c * channel], heat[c * cells + at], &slope);
      loss += is_asked ? own : 0;
      out[c * channel] = is_asked ? slope * scale : 0;
    }
    float *edges = out + classes * channel, slopes[EDGES] = {0}, share = 0;
    if (highest[at] >= k->least_weight) {
      const float *box = boxes + 5 * nearest[at];
      float middle_x = at % width + 0.5f, middle_y = at / width + 0.5f;
      float true[EDGES] = {middle_x - box[0] / stride, middle_y - box[1] / stride, box[2] / stride - middle_x,
                           box[3] / stride - middle_y};
      share = k->edges_share * highest[at] / most(sums[nearest[at]], TINY);
      loss += share * missed(here + classes * channel, channel, true, slopes);
    }
    for (int i = 0; i < EDGES; i++) edges[i * channel] = share * slopes[i] * scale;
    total += loss;
  }
  return (float)(total * scale);
}

/* Write the loss of each photo, and its derivatives by the photo's map; return 0, or 1 without memory.

   maps, gradient: [batch] maps of classes + EDGES channels; channel, cell: floats between two of them
   boxes: [batch][count][5], left, top, right, bottom in pixels and class; without an area: padding */
int losses(const float *maps, long batch, long channel, long cell, const float *boxes, int count, int classes,
           int height, int width, float stride, const Constants *k, float *losses, float *gradient) {
  long cells = (long)height * width, map = (classes + EDGES) * cells;
  float *scratch = malloc(sizeof(float) * ((classes + 2) * cells + width + height + count) + sizeof(int) * cells);
  if (!scratch) return 1;
  for (long n = 0; n < batch; n++)
    losses[n] = photo(maps + n * map, channel, cell, boxes + n * count * 5, count, classes, height, width, stride, k,
                      scratch, gradient + n * map);
  free(scratch);
  return 0;
}
