/* Convolution, 2x2 max pooling and (if RELU) a rectifier as one operation, and its gradient.

   Pooling passes a gradient to one of four pixels, and the rectifier to none where it is closed, so
   the gradient of the convolution's output is at least three quarters zeros. The backward pass
   visits the others only; a convolution that does not know the pooling cannot do that.

   Compiled once per geometry, with these constants:
     IC, OC  channels in and out      SIDE  side of the square images, pixels
     K, PAD  kernel and zero padding  RELU  0 or 1

   Images are [batch][SIDE][SIDE][IC], results [batch][POOLED][POOLED][OC], weights [OC][IC][K][K],
   all float. All functions work in the caller's thread and in memory of the caller's. */

#include <stdint.h>
#include <string.h>

#define POOLED ((SIDE + 2 * PAD - K + 1) / 2)
#define ROW ((SIDE + 2 * PAD) * IC) /* floats in a row of a padded image */
#define RUN (K * IC)                /* neighbours in memory that one row of the kernel covers */
#define CLOSED 4                    /* in place of 0 to 3: the rectifier let nothing through */

/* Vectors of output channels; GCC and Clang split them into the processor's own. */
#if OC <= 8
#define LANES 8
#else
#define LANES 16
#endif
#define GROUPS ((OC + LANES - 1) / LANES)
typedef float floats __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4)));
#define SELECT(mask, a, b) ((floats)(((mask) & (ints)(a)) | (~(mask) & (ints)(b))))

/* Vectors along a run; values beyond its end are computed and thrown away. */
#define WIDTH 16
#define CHUNKS ((RUN + WIDTH - 1) / WIDTH)
typedef float wide __attribute__((vector_size(4 * WIDTH), aligned(4)));
typedef int32_t wide_ints __attribute__((vector_size(4 * WIDTH), aligned(4)));

/* Adjacent pooled pixels that one call of `block` makes: with more, the sums leave the registers. */
#if POOLED % 2 == 0
#define BLOCK 2
#elif POOLED % 5 == 0
#define BLOCK 5
#elif POOLED % 3 == 0
#define BLOCK 3
#else
#define BLOCK 1
#endif

/* Rows of the kernel whose sums stay in registers together. */
#if K * CHUNKS <= 20
#define ROWS K
#else
#define ROWS 1
#endif

/* The source pixels of one image's gradient of one output channel: their places, and their gradient. */
struct pixels {
  int count, from[POOLED * POOLED];
  float gradient[POOLED * POOLED];
};

struct scratch {
  float padded[(SIDE + 2 * PAD) * ROW + CHUNKS * WIDTH];          /* an image */
  float padded_gradient[(SIDE + 2 * PAD) * ROW + CHUNKS * WIDTH]; /* its gradient */
  float by_lane[GROUPS][K][RUN][LANES];                           /* weights, output channels last */
  float by_run[OC][K][CHUNKS * WIDTH];                            /* weights, input channels last */
  struct pixels open;                                             /* those that let a gradient through */
};

/* The gradient of the parameters, of one image or several: that of the weights as in `by_run`, then
   that of the biases. Values beyond the end of a run are no part of it. */
struct gradient {
  float weights[OC][K][CHUNKS * WIDTH];
  float biases[OC];
};

long scratch_bytes(void) { return sizeof(struct scratch); }
long gradient_floats(void) { return sizeof(struct gradient) / sizeof(float); }

#define FOR_EACH_WEIGHT                 \
  for (int o = 0; o < OC; o++)          \
    for (int i = 0; i < IC; i++)        \
      for (int k = 0; k < K; k++)       \
        for (int l = 0; l < K; l++)
#define WEIGHT (((o * IC + i) * K + k) * K + l)

static void pad(struct scratch *s, const float *image) {
  for (int y = 0; y < SIDE; y++)
    memcpy(s->padded + (y + PAD) * ROW + PAD * IC, image + y * SIDE * IC, sizeof(float) * SIDE * IC);
}

/* True if `next` replaces the largest so far: as in torch, a NaN replaces all, and is never replaced. */
static inline __attribute__((always_inline)) ints exceeds(floats next, floats largest) {
  return (next > largest) | (next != next);
}

/* Pool four sums of one pixel into `out`, and write the place of the largest into `where`. */
static inline __attribute__((always_inline)) void pool(floats a, floats b, floats c, floats d, floats bias, int channels,
                                                       float *out, uint8_t *where) {
  a += bias, b += bias, c += bias, d += bias; /* before comparing: rounding can make ties, and the first one wins */
  ints later = exceeds(b, a), at = later & 1;
  a = SELECT(later, b, a);
  later = exceeds(c, a), a = SELECT(later, c, a), at = (later & 2) | (~later & at);
  later = exceeds(d, a), a = SELECT(later, d, a), at = (later & 3) | (~later & at);
#if RELU
  ints closed = a <= (floats){0};
  at = (closed & CLOSED) | (~closed & at);
  closed = a < (floats){0}; /* not <=, so that a NaN stays one */
  a = SELECT(closed, (floats){0}, a);
#endif
  for (int o = 0; o < channels; o++) out[o] = a[o], where[o] = (uint8_t)at[o];
}

/* Compute BLOCK pooled pixels of one group of output channels; `top` is the first input pixel that they use. */
static inline __attribute__((always_inline)) void block(const struct scratch *s, const float *top, int group,
                                                        floats bias, int channels, float *out, uint8_t *where) {
  floats sum[2][2 * BLOCK] = {0};
  for (int k = 0; k < K; k++)
    for (int j = 0; j < RUN; j++) {
      const float *from = top + k * ROW + j;
      floats weight = *(const floats *)s->by_lane[group][k][j];
#pragma GCC unroll 2
      for (int r = 0; r < 2; r++)
#pragma GCC unroll 10
        for (int c = 0; c < 2 * BLOCK; c++) sum[r][c] += weight * from[r * ROW + c * IC];
    }
#pragma GCC unroll 5
  for (int p = 0; p < BLOCK; p++)
    pool(sum[0][2 * p], sum[0][2 * p + 1], sum[1][2 * p], sum[1][2 * p + 1], bias, channels, out + p * OC,
         where + p * OC);
}

/* bias may be NULL. out: pooled results; where: the source of each among four pixels (0 to 3), or CLOSED. */
void forward(struct scratch *s, const float *images, long batch, const float *weight, const float *bias, float *out,
             uint8_t *where) {
  FOR_EACH_WEIGHT s->by_lane[o / LANES][k][l * IC + i][o % LANES] = weight[WEIGHT];
  memset(s->padded, 0, sizeof s->padded);
  for (long n = 0; n < batch; n++) {
    pad(s, images + n * SIDE * SIDE * IC);
    for (int group = 0; group < GROUPS; group++) {
      int first = group * LANES, channels = OC - first < LANES ? OC - first : LANES;
      floats shift = {0};
      for (int o = 0; bias && o < channels; o++) shift[o] = bias[first + o];
      for (int y = 0; y < POOLED; y++)
        for (int x = 0; x < POOLED; x += BLOCK) {
          long cell = ((n * POOLED + y) * POOLED + x) * OC + first;
          block(s, s->padded + 2 * y * ROW + 2 * x * IC, group, shift, channels, out + cell, where + cell);
        }
    }
  }
}

/* Return the place of pixel `at` (0 to 3) of pooled pixel (y, x) in a padded image. */
static inline int offset(int y, int x, int at) { return (2 * y + (at >> 1)) * ROW + (2 * x + (at & 1)) * IC; }

/* Find the open pixels of output channel `o`; return the sum of their gradients. */
static float find(int o, const float *gradient, const uint8_t *where, struct pixels *open) {
  float total = 0;
  int count = 0;
  for (int y = 0; y < POOLED; y++)
    for (int x = 0; x < POOLED; x++) {
      int cell = (y * POOLED + x) * OC + o, is_open = where[cell] != CLOSED;
      open->from[count] = offset(y, x, where[cell] & 3);
      open->gradient[count] = gradient[cell];
      total += is_open ? gradient[cell] : 0;
      count += is_open; /* a closed one is overwritten: no branch to mispredict */
    }
  open->count = count;
  return total;
}

/* Square values, and 0 in place of those beyond the end of a run. */
static inline __attribute__((always_inline)) wide squared(wide values, int chunk) {
  wide_ints inside;
  for (int lane = 0; lane < WIDTH; lane++) inside[lane] = chunk * WIDTH + lane < RUN ? -1 : 0;
  return (wide)((wide_ints)(values * values) & inside);
}

/* Add one image's part to the gradient of the weights of output channel `o`, or begin with it.

   squares: the squares of the gradient are added to it; or NULL. */
static void weigh(const struct scratch *s, int o, int begins, struct gradient *sums, wide *squares) {
  const struct pixels *open = &s->open;
  for (int first = 0; first < K; first += ROWS) {
    wide sum[ROWS][CHUNKS] = {0};
    for (int p = 0; p < open->count; p++)
#pragma GCC unroll 8
      for (int k = 0; k < ROWS; k++)
#pragma GCC unroll 20
        for (int c = 0; c < CHUNKS; c++)
          sum[k][c] += open->gradient[p] * *(const wide *)(s->padded + open->from[p] + (first + k) * ROW + c * WIDTH);
    for (int k = 0; k < ROWS; k++)
      for (int c = 0; c < CHUNKS; c++) {
        wide *kept = (wide *)(sums->weights[o][first + k] + c * WIDTH);
        *kept = begins ? sum[k][c] : *kept + sum[k][c];
        if (squares) *squares += squared(*kept, c);
      }
  }
}

/* Add the part of output channel `o` to the gradient of the image. */
static void spread(struct scratch *s, int o) {
  const struct pixels *open = &s->open;
  for (int first = 0; first < K; first += ROWS) {
    wide weight[ROWS][CHUNKS];
    for (int k = 0; k < ROWS; k++)
      for (int c = 0; c < CHUNKS; c++) weight[k][c] = *(const wide *)(s->by_run[o][first + k] + c * WIDTH);
    for (int p = 0; p < open->count; p++)
#pragma GCC unroll 8
      for (int k = 0; k < ROWS; k++)
#pragma GCC unroll 20
        for (int c = 0; c < CHUNKS; c++)
          *(wide *)(s->padded_gradient + open->from[p] + (first + k) * ROW + c * WIDTH) += open->gradient[p] * weight[k][c];
  }
}

/* Write the gradient of the images, and one of the parameters for each `group` images that follow
   one another.

   gradient: gradient of the pooled results; squares: the squared norm of each of `sums`, with biases
   if `has_bias`, or NULL; image_gradient may be NULL; what is written is overwritten. */
void backward(struct scratch *s, const float *images, long batch, long group, const float *weight, int has_bias,
              const float *gradient, const uint8_t *where, struct gradient *sums, float *squares,
              float *image_gradient) {
  memset(s->by_run, 0, sizeof s->by_run);
  FOR_EACH_WEIGHT s->by_run[o][k][l * IC + i] = weight[WEIGHT];
  memset(s->padded, 0, sizeof s->padded);
  for (long n = 0; n < batch; n++) {
    long cell = n * POOLED * POOLED * OC, pixel = n * SIDE * SIDE * IC;
    int begins = n % group == 0, ends = (n + 1) % group == 0;
    wide weight_squares = {0};
    float square = 0;
    pad(s, images + pixel);
    if (image_gradient) memset(s->padded_gradient, 0, sizeof s->padded_gradient);
    for (int o = 0; o < OC; o++) {
      float bias = find(o, gradient + cell, where + cell, &s->open);
      sums->biases[o] = begins ? bias : sums->biases[o] + bias;
      if (has_bias) square += sums->biases[o] * sums->biases[o];
      weigh(s, o, begins, sums, squares && ends ? &weight_squares : NULL);
      if (image_gradient) spread(s, o);
    }
    for (int y = 0; image_gradient && y < SIDE; y++)
      memcpy(image_gradient + pixel + y * SIDE * IC, s->padded_gradient + (y + PAD) * ROW + PAD * IC,
             sizeof(float) * SIDE * IC);
    if (squares && ends) {
      for (int lane = 0; lane < WIDTH; lane++) square += weight_squares[lane];
      *squares++ = square;
    }
    if (ends) sums++;
  }
}

/* Write a gradient of the parameters in their own order. */
void unpack(const struct gradient *sums, float *weight_gradient, float *bias_gradient) {
  FOR_EACH_WEIGHT weight_gradient[WEIGHT] = sums->weights[o][k][l * IC + i];
  memcpy(bias_gradient, sums->biases, sizeof sums->biases);
}
