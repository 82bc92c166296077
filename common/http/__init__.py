"""HTTP as our servers speak it to strangers: with bounds on all that a client sends."""
