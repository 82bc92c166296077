// Arithmetic as Python has it.

export function roundHalfEven(value) {
  const whole = Math.floor(value);
  return value - whole === 0.5 ? whole + (whole % 2) : Math.round(value);
}

export function between(value, least, most) {
  return Math.min(Math.max(value, least), most);
}
