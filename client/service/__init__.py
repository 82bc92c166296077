"""A finished model behind HTTP: `flower-client serve`.

    connection ──► access ──► routes, inference_protocol ──► classifier ──► micro_batcher
    (bounds a      (keys,     (JSON, PNG, problem JSON)      (decodes two   (one batch at
    request's      hosts)                                    at a time)     a time)
    head, time)

`server` starts, drains and reloads it; `served_model` holds the model that answers.
"""
