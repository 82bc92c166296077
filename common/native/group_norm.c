/* Group normalisation and (if RELU) a rectifier as one operation, and its gradient.

   Compiled once per geometry, with these constants:
     CHANNELS, GROUPS  the second divides the first      PIXELS  of one image      RELU  0 or 1

   Images are [batch][PIXELS][CHANNELS], all float; loops over channels are vectors. */

#include <math.h>
#include <string.h>

#define WIDTH (CHANNELS / GROUPS)

/* Replace each channel's value by the sum over its group, divided by the values in the group. */
static inline void average(float *channel) {
  for (int g = 0; g < GROUPS; g++) {
    float sum = 0;
    for (int c = g * WIDTH; c < (g + 1) * WIDTH; c++) sum += channel[c];
    for (int c = g * WIDTH; c < (g + 1) * WIDTH; c++) channel[c] = sum / (WIDTH * PIXELS);
  }
}

/* mean, scale: [batch][CHANNELS], for `backward`: the mean and 1 / sqrt(variance + epsilon) of each group. */
void forward(const float *images, long batch, const float *weight, const float *bias, float epsilon, float *out,
             float *mean, float *scale) {
  for (long n = 0; n < batch; n++, images += PIXELS * CHANNELS, out += PIXELS * CHANNELS, mean += CHANNELS,
            scale += CHANNELS) {
    memset(mean, 0, sizeof(float) * CHANNELS);
    memset(scale, 0, sizeof(float) * CHANNELS);
    for (int p = 0; p < PIXELS; p++)
      for (int c = 0; c < CHANNELS; c++) mean[c] += images[p * CHANNELS + c];
    average(mean);
    for (int p = 0; p < PIXELS; p++)
      for (int c = 0; c < CHANNELS; c++) {
        float off = images[p * CHANNELS + c] - mean[c];
        scale[c] += off * off;
      }
    average(scale);
    float gain[CHANNELS], shift[CHANNELS];
    for (int c = 0; c < CHANNELS; c++) {
      scale[c] = 1 / sqrtf(scale[c] + epsilon);
      gain[c] = scale[c] * weight[c];
      shift[c] = bias[c] - mean[c] * gain[c];
    }
    for (int p = 0; p < PIXELS; p++)
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
void backward(const float *images, long batch, long group, const float *weight, const float *out,
              const float *gradient, const float *mean, const float *scale, float *sums, float *squares,
              float *image_gradient) {
  for (long n = 0; n < batch; n++, images += PIXELS * CHANNELS, out += PIXELS * CHANNELS,
            gradient += PIXELS * CHANNELS, image_gradient += PIXELS * CHANNELS, mean += CHANNELS, scale += CHANNELS) {
    if (n % group == 0) memset(sums, 0, sizeof(float) * 2 * CHANNELS);
    float sum[CHANNELS] = {0}, product[CHANNELS] = {0};
    for (int p = 0; p < PIXELS; p++)
      for (int c = 0; c < CHANNELS; c++) {
        int i = p * CHANNELS + c;
        float d = RELU && out[i] <= 0 ? 0 : gradient[i]; /* not !(> 0): a NaN lets it through */
        sum[c] += d;
        product[c] += d * (images[i] - mean[c]) * scale[c];
      }
    for (int c = 0; c < CHANNELS; c++) {
      sums[c] += product[c], sums[CHANNELS + c] += sum[c];
      sum[c] *= weight[c], product[c] *= weight[c];
    }
    average(sum), average(product);
    for (int p = 0; p < PIXELS; p++)
      for (int c = 0; c < CHANNELS; c++) {
        int i = p * CHANNELS + c;
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
