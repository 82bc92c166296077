// Verdicts as `common/inference/predictors/verdicts.py` has them; a test holds both together.

const LEAST_DEVIATION = 2; // levels of 0 to 255
const LEAST_CORRELATION = 0.3;

// probabilities and logits: of the photo; square: its pixels at the model's size
export function verdictOn(probabilities, logits, square, model) {
  const familiarity = energyOf(logits) - (model.energy_threshold ?? NaN);
  if (familiarity < 0 || showsNothing(square)) return "unknown";
  return Math.max(...probabilities) < model.unsure_below ? "unsure" : "sure";
}

// log sum exp
function energyOf(logits) {
  const largest = Math.max(...logits);
  return largest + Math.log(logits.reduce((sum, score) => sum + Math.exp(score - largest), 0));
}

// Whether pixels are of one colour, or noise.
function showsNothing({ data, height, width, channels }) {
  const count = height * width;
  const grey = new Float64Array(count);
  for (let index = 0; index < data.length; index++)
    grey[Math.floor(index / channels)] += data[index] / channels;
  const mean = grey.reduce((sum, value) => sum + value, 0) / count;
  let [variance, along, down] = [0, 0, 0];
  for (let index = 0; index < count; index++) {
    const value = (grey[index] -= mean); // those before it are without the mean already
    variance += value * value;
    if (index % width) along += value * grey[index - 1];
    if (index >= width) down += value * grey[index - width];
  }
  variance /= count;
  if (variance < LEAST_DEVIATION ** 2) return true;
  along /= Math.max(1, height * (width - 1));
  down /= Math.max(1, (height - 1) * width);
  return Math.max(along, down) < LEAST_CORRELATION * variance;
}
