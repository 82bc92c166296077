/* A sum with Gaussian noise, both rounded to a grid (see common/privacy/noise.py).

   Normal numbers come in pairs (Box and Muller): sqrt(-2 log u) cos(2 pi v), sqrt(-2 log u) sin(2 pi v).
   Logarithm, sine and cosine are power series without branches, so the loop becomes vectors; their
   errors are a few units in the last of 53 bits. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define ONE 0x3FF0000000000000 /* the bits of 1.0 */
#define BIG 0x4330000000000000 /* of 2^52, whose last bits count in ones */
#define FRACTION 0x000FFFFFFFFFFFFF

static inline double number(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint64_t bits_of(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

/* log(u) for u in (0, 1]: u = m 2^e with m between sqrt(1/2) and sqrt(2), log m = 2 artanh((m - 1) / (m + 1)). */
static inline double logarithm(double u) {
  uint64_t bits = bits_of(u);
  double e = number(bits >> 52 | BIG) - (4503599627370496.0 + 1023), m = number((bits & FRACTION) | ONE);
  int is_large = m > 1.4142135623730951;
  m = is_large ? m / 2 : m, e = is_large ? e + 1 : e;
  double s = (m - 1) / (m + 1), x = s * s, sum = 1.0 / 21;
#pragma GCC unroll 10
  for (int k = 19; k > 0; k -= 2) sum = sum * x + 1.0 / k;
  return e * 0.6931471805599453 + 2 * s * sum;
}

/* words: 2 `pairs` numbers of 64 random bits; total, noisy: [count] with count 2 `pairs` or one less. */
void add_noise(const uint64_t *words, long pairs, long count, const float *total, double deviation, double grid,
               float *noisy) {
  double scale = deviation / grid, inverse = 1 / grid;
  for (long i = 0; i < pairs; i++) {
    double u = 2 - number(words[i] >> 12 | ONE), v = number(words[pairs + i] >> 12 | ONE) - 1;
    double radius = sqrt(-2 * logarithm(u));
    double turned = 4 * v + 6755399441055744.0; /* 1.5 2^52: rounds to whole quarter turns */
    uint64_t quarters = bits_of(turned);
    double f = (4 * v - (turned - 6755399441055744.0)) * 1.5707963267948966, x = f * f;
    /* f - f^3/3! + ... in Horner's form; times constants, as a division takes as long as ten products */
    double sine = 1 - x * (1.0 / 210), cosine = 1 - x * (1.0 / 240);
#pragma GCC unroll 8
    for (int k = 12; k > 0; k -= 2) sine = 1 - x * (1.0 / (k * (k + 1))) * sine;
#pragma GCC unroll 8
    for (int k = 14; k > 0; k -= 2) cosine = 1 - x * (1.0 / (k * (k - 1))) * cosine;
    sine *= f;
    double first = quarters & 1 ? sine : cosine, second = quarters & 1 ? cosine : sine;
    first = (quarters + 1) & 2 ? -first : first, second = quarters & 2 ? -second : second;
    noisy[i] = (float)((rint(total[i] * inverse) + rint(radius * first * scale)) * grid);
    if (pairs + i < count)
      noisy[pairs + i] = (float)((rint(total[pairs + i] * inverse) + rint(radius * second * scale)) * grid);
  }
}
