/* Group normalisation and (if RELU) a rectifier as one operation, and its gradient.

   Compiled once per shape of the layer, with these constants:
     CHANNELS, GROUPS  the second divides the first      RELU  0 or 1

   Images are [batch][pixels][CHANNELS], all float; loops over channels are vectors. Sums are taken over blocks of
   pixels first, so that those of large images keep their precision. */

#include <math.h>
#include <string.h>

#define WIDTH (CHANNELS / GROUPS)
#define BLOCK 1024 /* pixels */

/* Replace each channel's sum over the pixels by the mean over its group. */
static inline void average(float *channel, long pixels) {
  for (int g = 0; g < GROUPS; g++) {
    float sum = 0;
    for (int c = g * WIDTH; c < (g + 1) * WIDTH; c++) sum += channel[c];
    for (int c = g * WIDTH; c < (g + 1) * WIDTH; c++) channel[c] = sum / (WIDTH * pixels);
  }
}

static inline void add(float *total, const float *part) {
  for (int c = 0; c < CHANNELS; c++) total[c] += part[c];
}

/* Call the loop body for each block of pixels, from p to stop. */
#define FOR_BLOCKS(pixels) \
  for (long p = 0, stop; stop = p + BLOCK < (pixels) ? p + BLOCK : (pixels), p < (pixels); p = stop)

/* mean, scale: [batch][CHANNELS], for `backward`: the mean and 1 / sqrt(variance + epsilon) of each group. */
void forward(const float *images, long batch, long pixels, const float *weight, const float *bias, float epsilon,
             float *out, float *mean, float *scale) {
  for (long n = 0; n < batch; n++, images += pixels * CHANNELS, out += pixels * CHANNELS, mean += CHANNELS,
            scale += CHANNELS) {
    float middle[CHANNELS] = {0}, spread[CHANNELS] = {0};
    FOR_BLOCKS(pixels) {
      float part[CHANNELS] = {0};
      for (long q = p; q < stop; q++)
        for (int c = 0; c < CHANNELS; c++) part[c] += images[q * CHANNELS + c];
      add(middle, part);
    }
    average(middle, pixels);
    FOR_BLOCKS(pixels) {
      float part[CHANNELS] = {0};
      for (long q = p; q < stop; q++)
        for (int c = 0; c < CHANNELS; c++) {
          float off = images[q * CHANNELS + c] - middle[c];
          part[c] += off * off;
        }
      add(spread, part);
    }
    average(spread, pixels);
    float gain[CHANNELS], shift[CHANNELS];
    for (int c = 0; c < CHANNELS; c++) {
      mean[c] = middle[c];
      scale[c] = 1 / sqrtf(spread[c] + epsilon);
      gain[c] = scale[c] * weight[c];
      shift[c] = bias[c] - mean[c] * gain[c];
    }
    for (long p = 0; p < pixels; p++)
      for (int c = 0; c < CHANNELS; c++) {
        float value = images[p * CHANNELS + c] * gain[c] + shift[c];
        out[p * CHANNELS + c] = RELU && value < 0 ? 0 : value; /* a NaN stays one */
      }
  }
}

/* With h = (x - mean) scale, and d the gradient of the rectifier's input:
     dweight = sum d h,  dbias = sum d,  dx = scale (weight d - mean(weight d) - h mean(weight d h)).

   The first two are written for each `group` images that follow one another, to `sums`, which is
   [batch / group][2][CHANNELS]; squares: the squared norm of each of them, or NULL. */
void backward(const float *images, long batch, long pixels, long group, const float *weight, const float *out,
              const float *gradient, const float *mean, const float *scale, float *sums, float *squares,
              float *image_gradient) {
  for (long n = 0; n < batch; n++, images += pixels * CHANNELS, out += pixels * CHANNELS,
            gradient += pixels * CHANNELS, image_gradient += pixels * CHANNELS, mean += CHANNELS, scale += CHANNELS) {
    if (n % group == 0) memset(sums, 0, sizeof(float) * 2 * CHANNELS);
    float sum[CHANNELS] = {0}, product[CHANNELS] = {0};
    FOR_BLOCKS(pixels) {
      float sum_part[CHANNELS] = {0}, product_part[CHANNELS] = {0};
      for (long q = p; q < stop; q++)
        for (int c = 0; c < CHANNELS; c++) {
          long i = q * CHANNELS + c;
          float d = RELU && out[i] <= 0 ? 0 : gradient[i]; /* not !(> 0): a NaN lets it through */
          sum_part[c] += d;
          product_part[c] += d * (images[i] - mean[c]) * scale[c];
        }
      add(sum, sum_part), add(product, product_part);
    }
    for (int c = 0; c < CHANNELS; c++) {
      sums[c] += product[c], sums[CHANNELS + c] += sum[c];
      sum[c] *= weight[c], product[c] *= weight[c];
    }
    average(sum, pixels), average(product, pixels);
    for (long p = 0; p < pixels; p++)
      for (int c = 0; c < CHANNELS; c++) {
        long i = p * CHANNELS + c;
        float d = RELU && out[i] <= 0 ? 0 : gradient[i]; /* not !(> 0): a NaN lets it through */
        image_gradient[i] = scale[c] * (weight[c] * d - sum[c] - (images[i] - mean[c]) * scale[c] * product[c]);
      }
    if ((n + 1) % group == 0) {
      float square = 0;
      for (int c = 0; c < 2 * CHANNELS; c++) square += sums[c] * sums[c];
      if (squares) *squares++ = square;
      sums += 2 * CHANNELS;
    }
  }
}
