"""What joining is worth: stores alone, federated, fine-tuned and pooled, trained on the same images for as long.

`command` runs a comparison; `held_out` says what models are judged on, `parts` what is trained, `crew` trains it,
`verdict` counts, `report` shows it.
"""
