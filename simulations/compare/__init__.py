"""What joining is worth: stores alone, federated, fine-tuned and pooled, trained on the same images for as long.

`command` runs a comparison; `held_out` says what models are judged on, `arms` what is trained, `trainer` trains it,
`results` counts, `wording` says it and `page` shows it.
"""
