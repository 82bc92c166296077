"""Statistics of a comparison: paired accuracy, margins, Student's t distribution."""
